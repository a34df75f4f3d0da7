"""Scoring of stored predictions: the metrics of one run. numpy, never torch."""
