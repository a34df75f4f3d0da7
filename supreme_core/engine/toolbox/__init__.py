"""Tools of methods and probes: tasks, trainings on sets, weights' importance."""
