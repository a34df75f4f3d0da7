"""Servers of workers that do what a test says, and have not imported what real ones have."""

import sys

PROGRAM = """
import json, os, random, signal, sys, tempfile, time
from supreme_operator.results.forkserver import Server
{first}
def work():
    {work}
Server(work).run()
"""


def forking(work, first=""):
    """The command of such a server.  work: a line of what each worker does.  first: what the server
    does before all."""
    return sys.executable, "-P", "-c", PROGRAM.format(work=work, first=first)
