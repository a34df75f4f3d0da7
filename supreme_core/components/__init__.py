"""Components: what experiments name, a file and a decorator each, in a folder for each kind.

Components know the engine and the rooms below it, never one another.
"""
