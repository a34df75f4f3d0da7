"""The command `supreme` starts at once: what it imports before it is asked to do something."""

import subprocess
import sys

import pytest
from click import Group
from supreme_trainer.cli import cli

from supreme_core import registry
from supreme_core.api import names


def paths(group, above=()):
    """The words of every command below a group, itself included."""
    yield above
    for name, command in group.commands.items():
        if isinstance(command, Group):
            yield from paths(command, (*above, name))
        else:
            yield (*above, name)


def test_version_and_every_help_load_click_and_nothing_else():
    """In a process of its own, which has imported nothing before."""
    calls = [[*words, "--help"] for words in paths(cli)] + [["--version"]]
    code = (
        "import sys; before = {*sys.modules}; from supreme_trainer.cli import cli\n"
        f"for words in {calls}: cli.main(words, 'supreme', standalone_mode=False)\n"
        "loaded = {name.partition('.')[0] for name in {*sys.modules} - before}\n"
        "print(*sorted(loaded - sys.stdlib_module_names))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    *helps, loaded = done.stdout.splitlines()
    assert loaded == "click supreme_core supreme_trainer"
    assert sum(line.startswith("Usage: supreme") for line in helps) == len(calls) - 1


@pytest.mark.parametrize("words", [words for words in paths(cli) if words], ids=" ".join)
def test_every_command_says_what_it_does(words):
    command = cli
    for word in words:
        command = command.commands[word]
    assert command.help


def test_the_kinds_of_the_command_are_those_of_the_registries():
    assert tuple(each.kind for each in registry.REGISTRIES) == names.KINDS
