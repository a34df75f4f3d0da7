"""Datasets, one file each: a function of its parameters that returns an ImageSet. No torch."""
