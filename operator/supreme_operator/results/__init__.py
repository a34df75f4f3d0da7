"""The results in the store, read at arm's length: what is in them was written by users' pods."""
