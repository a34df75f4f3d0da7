"""Optimisers of a training recipe, one file each."""
