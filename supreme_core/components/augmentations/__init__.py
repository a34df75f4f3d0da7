"""Augmentations of a training recipe, one file each; keyed by sample, never by batch."""
