"""Command of a pod's container: python -m supreme_trainer.pod

The name is a contract between the images of operators and of trainers, which may be of different
versions, so it stays wherever the code moves.
"""

import os
import sys

from supreme_trainer.process.pod import main

if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # a request that a store does not answer keeps its thread, and Python waits
