"""Metrics, one file each: one number of one run, from stored predictions. numpy, never torch."""
