"""The operator: watches UnlearningExperiment resources and has their seeds computed by pods."""
