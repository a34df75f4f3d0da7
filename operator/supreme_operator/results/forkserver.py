"""A server that forks workers of the operator.  python -m supreme_operator.results.forkserver"""

import gc

from supreme_core.system.forkserver import Server
from supreme_operator.results import worker

if __name__ == "__main__":
    worker.preload()
    gc.collect()
    Server(worker.main).run()
