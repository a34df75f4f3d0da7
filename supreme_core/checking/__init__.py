"""What can be said of an experiment before it is computed: refusals, warnings and costs. No torch."""
