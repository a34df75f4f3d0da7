"""Tuning: the settings that are tried, and the choice among them. Pure, and without torch."""
