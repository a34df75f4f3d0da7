"""Checks of an experiment before it is computed: refusals, warnings, costs. No torch."""
