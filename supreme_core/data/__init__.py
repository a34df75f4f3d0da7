"""Data sets as arrays, how files become them, and how a scenario splits them. No torch."""
