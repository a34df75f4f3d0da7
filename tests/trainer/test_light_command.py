"""The command `supreme` starts at once: what it imports before it is asked to do something."""

import re
import subprocess
import sys

import pytest
from click import Context, Group, Option
from click.shell_completion import ShellComplete
from supreme_trainer.command.cli import cli, main

from supreme_core import registry
from supreme_core.api import names
from supreme_core.errors import EXIT_INVALID, SpecError
from supreme_core.store.opening import open_storage
from supreme_core.system.ending import install_command


def paths(group, above=()):
    """The words of every command below a group, itself included."""
    yield above
    for name, command in group.commands.items():
        if isinstance(command, Group):
            yield from paths(command, (*above, name))
        else:
            yield (*above, name)


def command_of(words):
    found = cli
    for word in words:
        found = found.commands[word]
    return found


def test_version_and_every_help_load_click_and_nothing_else():
    """A process of its own has imported nothing before."""
    calls = [[*words, "--help"] for words in paths(cli)] + [["--version"]]
    code = (
        "import sys; before = {*sys.modules}; from supreme_trainer.command.cli import cli\n"
        f"for words in {calls}: cli.main(words, 'supreme', standalone_mode=False)\n"
        "loaded = {name.partition('.')[0] for name in {*sys.modules} - before}\n"
        "print(*sorted(loaded - sys.stdlib_module_names))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    *helps, loaded = done.stdout.splitlines()
    assert loaded == "click supreme_core supreme_trainer"
    assert sum(line.startswith("Usage: supreme") for line in helps) == len(calls) - 1


def test_a_wrong_command_line_is_told_without_loading_what_commands_need():
    code = (
        "import sys; before = {*sys.modules}; from supreme_trainer.command.cli import main\n"
        "sys.argv = ['supreme', 'list', 'methods']\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "loaded = {name.partition('.')[0] for name in {*sys.modules} - before}\n"
        "print(*sorted(loaded - sys.stdlib_module_names))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "did you mean 'method'?" in done.stderr
    assert done.stdout.split() == ["click", "rich", "supreme_core", "supreme_trainer"]


@pytest.mark.parametrize("width", [40, 60, 80])
@pytest.mark.parametrize("words", [["list", "methods"], ["list"], ["run", "x", "--device", "gpu"]])
def test_a_wrong_command_line_is_told_in_lines_of_the_terminal(words, width, monkeypatch, capsys):
    for name, value in {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": str(width)}.items():
        monkeypatch.setenv(name, value)  # rich takes the stream for a terminal
    monkeypatch.setattr("sys.argv", ["supreme", *words])
    with pytest.raises(SystemExit):
        main()

    usage, *_, error = capsys.readouterr().err.split("\n\n")
    assert usage.startswith("Usage: supreme ")
    assert error.startswith("Error: ")
    assert max(map(len, [*usage.splitlines(), *error.splitlines()])) <= width


@pytest.mark.parametrize("words", [words for words in paths(cli) if words], ids=" ".join)
def test_every_command_says_what_it_does(words):
    command = command_of(words)
    assert command.help
    assert [
        each.name for each in command.params if isinstance(each, Option) and not each.help
    ] == []


@pytest.mark.parametrize("group", [cli, cli.commands["store"]], ids=["supreme", "supreme store"])
def test_a_list_of_commands_has_whole_sentences_on_a_terminal_of_80_columns(group):
    listed = group.get_help(Context(group, terminal_width=80)).partition("Commands:\n")[2]
    assert len(listed.splitlines()) == len(group.commands)
    assert all(line.endswith(".") and not line.endswith("...") for line in listed.splitlines())


def without_blanks(text):
    """The words of a text, wherever its lines are broken."""
    return "".join(text.split())


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120])
def test_every_help_fits_a_terminal_of_any_width_with_all_that_it_says(width, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(width))
    for words in paths(cli):
        cli.main([*words, "--help"], "supreme", standalone_mode=False)
        shown = capsys.readouterr().out
        assert max(map(len, shown.splitlines())) <= width, words
        command = command_of(words)
        options = [each for each in command.params if isinstance(each, Option)]
        listed = getattr(command, "commands", {}).values()
        told = [command.help, *(each.help for each in options)]
        told += [each.help.partition(". ")[0].splitlines()[0] for each in listed]
        assert [each for each in told if without_blanks(each) not in without_blanks(shown)] == []


def test_the_help_of_list_names_every_kind_whole():
    shown = cli.commands["list"].get_help(Context(cli.commands["list"], terminal_width=80))
    assert set(names.KINDS) <= set(re.findall(r"\w+", shown))


def test_the_kinds_of_the_command_are_those_of_the_registries():
    assert tuple(each.kind for each in registry.REGISTRIES) == names.KINDS


HIDDEN = """
import sys
from importlib.machinery import PathFinder

class Hiding(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        hidden = name.partition(".")[0] in ("torch", "torchvision", "timm")
        return None if hidden else PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Hiding
"""


def test_what_needs_no_extra_is_imported_without_it_metrics_included():
    code = HIDDEN + (
        "from supreme_trainer.command import (import_reference, listing, recompute, report, store,"
        " validate)\n"
        "from supreme_core import registry\n"
        "registry.metric.entries(), registry.seed_metric.entries()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_run_starts_before_it_imports_what_it_needs_in_the_end():
    code = (
        "import sys\n"
        "from supreme_trainer.command import run\n"
        "from supreme_core import registry\n"
        "registry.dataset.entries()\n"
        "print(*sorted({'matplotlib', 'pandas', 'scipy.stats', 'sklearn'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("command", ["run", "prepare"])
def test_what_computes_says_what_to_install(command, monkeypatch, capsys):
    monkeypatch.setattr("supreme_core.system.ending.TRAINER_MODULES", ("torch", "not_installed"))
    monkeypatch.setattr("sys.argv", ["supreme", command, "experiment.yaml"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == EXIT_INVALID
    assert capsys.readouterr().err == (
        f"error: this needs not_installed, which is not installed: {install_command('trainer')}\n"
    )


@pytest.mark.parametrize(
    ("hours", "told"),
    [
        ("nan", "'nan' is not a number of hours"),
        ("inf", "inf is not in the range 0<=x<=1000000"),
        ("1e400", "inf is not in the range"),
        ("1e9", "is not in the range"),
        ("-1", "-1.0 is not in the range"),
        ("x", "'x' is not a valid float"),
    ],
)
def test_hours_that_are_no_number_of_hours_are_refused(hours, told, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["supreme", "store", "prune", "s", "--older-than", hours])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == EXIT_INVALID
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("uri", ["~nosuchuser/store", "a\0b", "file:///a%00b"])
def test_a_store_that_no_path_can_be_is_refused_by_name(uri):
    with pytest.raises(SpecError, match=re.escape(f"the store's URI is {uri!r}")):
        open_storage(uri)


@pytest.mark.parametrize(
    ("words", "incomplete", "offered"),
    [
        ([], "re", ["report", "recompute"]),
        (["store"], "", ["check", "prune"]),
        (["list"], "seed", ["seed_metric"]),
        (["report"], "--fo", ["--format"]),
        (["report", "--format"], "m", ["markdown"]),
        (["run"], "exp", ["exp"]),  # a file, which the shell itself completes
    ],
)
def test_a_shell_completes_commands_kinds_options_and_files(words, incomplete, offered):
    found = ShellComplete(cli, {}, "supreme", "_SUPREME_COMPLETE").get_completions(
        words, incomplete
    )
    assert {*offered} <= {each.value for each in found}
