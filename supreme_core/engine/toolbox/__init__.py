"""What methods and probes are given and share: tasks, trainings on sets, weights' importance."""
