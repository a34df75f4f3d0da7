"""Fixtures of all tests of this folder."""

import pytest
from supreme_trainer.command import cli


@pytest.fixture(autouse=True, scope="module")
def pages(plots_once):
    """Have the same plot drawn once, whatever is published in this process."""


@pytest.fixture
def supreme_here(monkeypatch, capsys):
    """Run the command in this process; gives exit status, standard output, standard error."""

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["supreme", *arguments])
        status = 0
        try:
            cli.main()
        except SystemExit as end:
            status = end.code or 0
        return status, *capsys.readouterr()

    return run
