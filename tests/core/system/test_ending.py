"""End of a command: a line and a status for what its user can correct, a traceback for our faults.

Errors are made by the system where it can make them. `supreme` as a whole is in
trainer/test_light_command.py.
"""

import json
import os
import sys
from pathlib import Path

import pytest
import supreme_operator
from supreme_operator import command

from supreme_core.errors import EXIT_ERROR, SpecError, StoreUnavailable
from supreme_core.system.ending import REPORT, as_told, ending, install_command


def loop(folder):
    (folder / "loop").symlink_to("loop")
    return (folder / "loop").read_bytes()


def gone_folder(folder):
    before = Path.cwd()
    gone = folder / "gone"
    gone.mkdir()
    os.chdir(gone)
    try:
        gone.rmdir()
        os.getcwd()
    finally:
        os.chdir(before)


def full_device(folder):
    with open("/dev/full", "w") as device:
        device.write("x")
        device.flush()


def missing(module):
    def imported(folder):
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    return imported


KINDS = {
    "no file": (lambda folder: (folder / "none").read_bytes(), 2, "none': No such file"),
    "a folder": (lambda folder: folder.read_bytes(), 2, "Is a directory"),
    "below a file": (lambda folder: Path(__file__, "x").read_bytes(), 2, "Not a directory"),
    "too long": (lambda folder: (folder / ("a" * 300)).read_bytes(), 2, "File name too long"),
    "circle of links": (loop, 2, "loop': Too many levels of symbolic links"),
    "NUL": (lambda folder: Path("a\0b").read_bytes(), 2, "has a NUL character"),
    "nobody's home": (lambda folder: Path("~nosuchuser").expanduser(), 2, "no such user"),
    "no current folder": (gone_folder, 2, "folder in which this was started is gone"),
    "full device": (full_device, 1, "No space left on device"),
    "wrong bytes": (lambda folder: b"\xff".decode(), 2, "can't decode byte 0xff"),
    "no torch": (missing("torch.nn"), 2, install_command("trainer")),
    "no kopf": (missing("kopf"), 2, install_command("operator")),
}


@pytest.mark.parametrize(("cause", "code", "words"), KINDS.values(), ids=KINDS)
def test_what_a_user_can_mend_is_one_line_without_a_traceback(cause, code, words, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended, ending():
        cause(tmp_path)

    said = capsys.readouterr().err
    assert ended.value.code == code
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert words in said


def test_the_operator_without_its_extra_says_what_to_install(monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "supreme_operator.main", raising=False)
    monkeypatch.delattr(supreme_operator, "main", raising=False)
    monkeypatch.setitem(sys.modules, "kopf", None)

    with pytest.raises(SystemExit) as ended:
        command.main()

    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        f"error: this needs kopf, which is not installed: {install_command('operator')}\n"
    )


@pytest.mark.parametrize(
    ("source", "command"),
    [
        (None, "uv pip install 'supreme-bench[pandas]'"),
        (
            {"url": "file:///a/s.whl", "archive_info": {}},
            "uv pip install 'supreme-bench[pandas] @ file:///a/s.whl'",
        ),
        (
            {"url": "file:///a%20b/s", "dir_info": {"editable": True}},
            "uv pip install -e '/a b/s[pandas]'",
        ),
        (
            {"url": "file:///a/s", "dir_info": {}},
            "uv pip install 'supreme-bench[pandas] @ file:///a/s'",
        ),
    ],
    ids=["index", "wheel", "checkout", "folder"],
)
def test_an_extra_is_installed_from_where_the_package_came(source, command, monkeypatch):
    class Installed:
        def read_text(self, name):
            return source and json.dumps(source)

    monkeypatch.setattr("importlib.metadata.distribution", lambda name: Installed())
    monkeypatch.setattr("supreme_core.system.ending.find_spec", lambda name: None)
    assert install_command("pandas") == command


@pytest.mark.parametrize(
    ("pip", "uv", "program"),
    [
        (True, True, "pip"),
        (False, True, "uv pip"),
        (False, False, "{checkout}/.venv-uv/bin/uv pip"),
    ],
    ids=["pip", "uv", "the uv of make"],
)
def test_a_checkout_brings_its_constraints_and_its_uv(pip, uv, program, tmp_path, monkeypatch):
    class Installed:
        def read_text(self, name):
            return json.dumps({"url": tmp_path.as_uri(), "dir_info": {"editable": True}})

    of_make = tmp_path / ".venv-uv" / "bin" / "uv"
    of_make.parent.mkdir(parents=True)
    of_make.touch()
    (tmp_path / "constraints.txt").touch()
    monkeypatch.setattr("importlib.metadata.distribution", lambda name: Installed())
    monkeypatch.setattr("supreme_core.system.ending.find_spec", lambda name: pip or None)
    monkeypatch.setattr("shutil.which", lambda name: name if uv else None)
    words = f"install -c {tmp_path}/constraints.txt -e '{tmp_path}[pandas]'"
    assert install_command("pandas") == f"{program.format(checkout=tmp_path)} {words}"


@pytest.mark.parametrize("error", [SpecError("a\nb"), StoreUnavailable("a\nb")], ids=repr)
def test_an_error_of_ours_keeps_its_lines_and_its_status(error, capsys):
    with pytest.raises(SystemExit) as ended, ending():
        raise error
    assert (ended.value.code, capsys.readouterr().err) == (error.exit_code, "error: a\nerror: b\n")


@pytest.mark.parametrize(
    "fault",
    [
        KeyError("x"),
        ValueError("x"),
        RuntimeError("x"),
        ModuleNotFoundError("No module named 'mine'", name="mine"),
    ],
    ids=repr,
)
def test_a_fault_of_the_program_keeps_its_traceback_and_says_where_to_report_it(fault):
    assert as_told(fault) is None
    with pytest.raises(type(fault)) as raised, ending():
        raise fault
    assert raised.value.__notes__ == [REPORT]


def test_what_is_left_to_write_fails_inside_and_not_when_python_exits(monkeypatch, capsys):
    with open("/dev/full", "w") as device:
        monkeypatch.setattr(sys, "stdout", device)
        with pytest.raises(SystemExit) as ended, ending():
            print("x")
        monkeypatch.undo()
    assert ended.value.code == EXIT_ERROR
    assert capsys.readouterr().err == "error: the system says: No space left on device\n"


def test_a_reader_that_has_gone_ends_a_command_quietly(monkeypatch, capsys):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        with pytest.raises(SystemExit) as ended, ending():
            print("x")
        monkeypatch.undo()
    assert ended.value.code == 141
    assert capsys.readouterr().err == ""


def test_a_command_without_any_output_ends_as_it_would(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    with ending():
        pass
