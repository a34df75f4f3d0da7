"""Steps of one experiment: look, decide, write the status, act on children."""
