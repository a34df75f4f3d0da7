"""The documents that people write and that operator, trainer and store exchange."""
