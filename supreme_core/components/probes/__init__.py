"""Probes of a model in memory, one file each; what they find is stored, and metrics read it."""
