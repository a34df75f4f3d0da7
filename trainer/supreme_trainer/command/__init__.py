"""The command `supreme`: its options, what it says, and the operator's part on one machine."""
