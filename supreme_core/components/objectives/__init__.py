"""Learning-rate schedules of a training recipe, one file each."""
