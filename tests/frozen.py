"""Freeze of what is imported: last of what a process imports from which others are forked.

The first collection of garbage in each of them would look at a million objects otherwise, and copy
the memory in which they lie.
"""

import atexit
import gc

gc.collect()
gc.freeze()
atexit.register(gc.unfreeze)  # or libraries would miss what is left when Python ends
