"""Servers of workers that do what a test says, and have not imported what real ones have."""

import sys

from tests import warm

PROGRAM = """
import json, os, random, signal, sys, tempfile, time
from supreme_core.system.forkserver import Server
{first}
def work():
    {work}
Server(work).run()
"""


def forking(work, first=""):
    """The command of such a server.  work: a line of what each worker does.  first: what the server
    does before all."""
    return sys.executable, "-P", "-c", PROGRAM.format(work=work, first=first)


def warm_forking(work):
    """The command of such a server that has imported more, and so starts at once."""
    return warm.python("operator"), "-P", "-m", __name__, work


if __name__ == "__main__":
    exec(PROGRAM.format(first="", work=sys.argv[1]))
