"""Wrappers: ways to run an unlearning method, one file each."""
