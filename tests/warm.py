"""A Python that has imported all already: `[python(), "-m", MODULE, ...]` starts within 50 ms.

`-c CODE` works as well, and finds the real Python as `sys.executable`.

What is run is a small program that has this test process fork what was asked for from one that has
imported everything (preloaded.py), with its own files, folder, variables and session. It passes
signals on, ends as the other ends, and takes it along where it is killed itself. So it may stand
for `sys.executable`, and what is started by it finds it there.

Where it matters how a process starts, tests take the real one.
"""

import atexit
import os
import runpy
import select
import shutil
import signal
import socket
import sys
import tempfile
import threading
from contextlib import suppress
from functools import cache
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType

from supreme_trainer.process.bound import PARENT

from tests import preloaded

PROGRAM = """#!{python} -SE
import os, select, signal, socket, sys
bell, ring = socket.socketpair()
ring.setblocking(False)
signal.set_wakeup_fd(ring.fileno())
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
    signal.signal(number, lambda *_: None)
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
words = repr((os.getpid(), sys.argv[1:], os.getcwd(), dict(os.environ))).encode()
socket.send_fds(server, [len(words).to_bytes(8, "big")], [0, 1, 2])
server.sendall(words)
for number in (0, 1, 2):
    os.close(number)
while True:
    ready, _, _ = select.select([server, bell], [], [])
    if bell in ready:
        server.sendall(bell.recv(1))
    if server in ready:
        code = int(server.recv(8))
        break
if code < 0:
    signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
os._exit(code)
"""


def forked(pid):
    """The id of the process that such a program stands for; that of any other process itself."""
    numbers = (Path(_program(of)).with_name(str(pid)) for of in preloaded.MODULES)
    return next((int(number.read_text()) for number in numbers if number.exists()), pid)


def python(of="trainer"):
    """The path of that program, which works as long as this process lives.

    of: what has been imported, see preloaded.py.
    """
    return _program(of)


@cache
def _program(of):
    folder = Path(tempfile.mkdtemp(prefix="warm-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / "socket"))
    listener.listen()
    program = folder / "python"
    program.write_text(PROGRAM.format(python=sys.executable, address=str(folder / "socket")))
    program.chmod(0o755)
    threading.Thread(target=_serve, args=(listener, str(program), of), daemon=True).start()
    return str(program)


def _serve(listener, program, of):
    while True:
        link, _ = listener.accept()
        threading.Thread(target=_attend, args=(link, program, of), daemon=True).start()


def _attend(link, program, of):
    """Fork what the other end asks for, pass signals on to it, and say how it ended."""
    with link:
        head, files, _, _ = socket.recv_fds(link, 8, 3)
        size = int.from_bytes(head, "big")
        words = link.recv(size, socket.MSG_WAITALL) if size else b""
        streams = [Connection(file) for file in files]
        if not words or len(words) < size:  # the other end was killed before it had asked
            for stream in streams:
                stream.close()
            return
        pid, *words = eval(words)
        process = preloaded.context(of).Process(target=_become, args=(program, *words, *streams))
        process.start()
        known = Path(program).with_name(str(pid))
        known.write_text(str(process.pid))
        for stream in streams:
            stream.close()
        while process.is_alive():
            ready, _, _ = select.select([link, process.sentinel], [], [])
            if link in ready:
                number = link.recv(1)
                with suppress(ProcessLookupError):
                    os.kill(process.pid, number[0] if number else signal.SIGKILL)
                if not number:
                    break
        process.join()
        known.unlink()
        with suppress(BrokenPipeError):
            link.sendall(str(process.exitcode).encode())
        process.close()


def _become(program, arguments, folder, variables, *streams):
    """Become, in the fork, what `PROGRAM -m MODULE ARGUMENTS` would be, or `PROGRAM -c CODE`."""
    if arguments[0] == "-u":  # torchrun and execnet ask for it; what matters here is flushed anyway
        del arguments[0]
    if is_safe := arguments[0] == "-P":  # nothing of the current folder is imported
        del arguments[0]
    option, what, *arguments = arguments
    assert option in ("-m", "-c"), option
    for number, stream in enumerate(streams):
        os.dup2(stream.fileno(), number)
        stream.close()
    # Anew, because the streams of the parent know whether its own files could be sought in.
    encoding = variables.get("PYTHONIOENCODING") or "utf-8"
    sys.stdin, sys.stdout, sys.stderr = (
        os.fdopen(number, mode, closefd=False, encoding=encoding, errors=errors)
        for number, mode, errors in ((0, "r", None), (1, "w", None), (2, "w", "backslashreplace"))
    )
    os.setsid()
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(folder)
    tempfile.tempdir = None  # as it was found by the variables of another process
    paths = [*variables.get("PYTHONPATH", "").split(os.pathsep), "" if is_safe else folder]
    sys.path[:0] = filter(None, paths)
    if option == "-c":
        preloaded.fork_server("trainer")
        sys.argv = [option, *arguments]
        main = sys.modules["__main__"] = ModuleType("__main__")
        try:
            exec(what, vars(main))
        finally:  # as Python ends; multiprocessing would wait for executors that nobody stops
            threading._shutdown()
            atexit._run_exitfuncs()
        return
    sys.executable, sys.argv = program, [what, *arguments]
    if PARENT in os.environ:
        os.environ[PARENT] = str(os.getppid())
    for option, name in pairwise(["-m", what, *arguments]):
        if option == "-m":
            sys.modules.pop(name, None)  # it is run, however often it was imported
    runpy.run_module(what, run_name="__main__", alter_sys=True)
