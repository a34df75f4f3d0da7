"""Predictions of a model, what they cost, and what they were computed on."""
