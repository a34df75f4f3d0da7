"""Models, one file each: a function that builds a network with fresh weights."""
