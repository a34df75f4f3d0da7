"""Processes that compute one stage together: ordered sums, devices, and one end for all."""
