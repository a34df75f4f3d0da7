"""Output for people: report.html (`page`), and the same tables for a terminal (`terminal`).

Nothing is imported here, so that a terminal table does not load matplotlib.
"""
