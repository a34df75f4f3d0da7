"""From the results of all seeds to a summary: intervals, tests, verdicts, ranks. Pure."""
