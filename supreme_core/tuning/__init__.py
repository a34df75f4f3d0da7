"""Settings to be tried: which there are for each method, and what trial number n of them is.

All of it is a pure function of what an experiment says, so that every process, the one that plans
and the one that computes, knows all trials beforehand.
"""
