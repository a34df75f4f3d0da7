"""Random numbers that have an address: a pure function of a seed and of what they are for."""
