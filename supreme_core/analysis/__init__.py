"""Analysis of the results of all seeds: intervals, tests, verdicts, ranks, summary. Pure."""
