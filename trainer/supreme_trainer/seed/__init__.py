"""One seed from its data set to its result: the stages, what each depends on, and its faults."""
