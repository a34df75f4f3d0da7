"""Decisions from what is known of an experiment: plans, waits, statuses. Pure."""
