"""Scenarios, one file each: what is to be forgotten, as a pure function of labels. No torch."""
