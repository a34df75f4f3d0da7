"""Samples on a device: images and labels, their trigger, size and random numbers."""
