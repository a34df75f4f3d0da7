"""Metrics over seeds, one file each: unlearned against Retrained models. numpy, never torch."""
