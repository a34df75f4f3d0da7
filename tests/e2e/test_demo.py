"""Questions and output of `make cluster-demo`. The demo itself takes minutes and is run by hand."""

from io import StringIO

import pytest
from rich.console import Console

from tests.e2e import demo

PACKAGES = ["runc", "containerd"]


@pytest.fixture
def console():
    return Console(file=StringIO(), highlight=False, soft_wrap=True)


@pytest.mark.parametrize("answer", ["y", "Yes", " y "])
def test_a_yes_installs(answer, console):
    demo.consent(PACKAGES, console, ask=lambda question: answer)


@pytest.mark.parametrize("answer", ["", "n", "no", "maybe"])
def test_anything_else_installs_nothing_and_says_how(answer, console):
    with pytest.raises(SystemExit, match=r"apt-get install runc containerd, or make .* YES=1"):
        demo.consent(PACKAGES, console, ask=lambda question: answer)


def test_the_question_names_each_package(console):
    asked = []
    demo.consent(PACKAGES, console, ask=lambda question: asked.append(question) or "y")
    assert asked == ["apt-get install runc containerd? [y/N] "]


def test_where_nobody_can_answer_the_variable_does(console, monkeypatch):
    with pytest.raises(SystemExit, match="nothing was installed"):
        demo.consent(PACKAGES, console, ask=None)
    monkeypatch.setenv(demo.YES, "1")
    demo.consent(PACKAGES, console, ask=None)
    assert "apt-get install runc containerd" in console.file.getvalue()


def seed(**fields):
    return {"seed": 260, "phase": "Running", **fields}


LOOKS = [
    [],
    [seed(phase="Pending", message="waits for a node")],
    [seed()],
    [seed(progress="0/44")],
    [seed(progress="1/44")],
    [seed(progress="10/44")],
    [seed(progress="11/44"), seed(seed=261, phase="Pending")],
    [seed(progress="22/44"), seed(seed=261, phase="Pending")],
    [seed(phase="Succeeded"), seed(seed=261, phase="Pending")],
]


def test_a_pipe_gets_a_line_for_each_phase_and_quarter(console):
    with demo.seeds_shown(console) as update:
        for look in LOOKS:
            update(look)
    assert console.file.getvalue().splitlines() == [
        "seed 260: Pending, waits for a node",
        "seed 260: Running",
        "seed 260: Running, 11/44 stages",
        "seed 261: Pending",
        "seed 260: Running, 22/44 stages",
        "seed 260: Succeeded",
    ]


def test_a_terminal_gets_a_bar_for_each_seed():
    console = Console(file=StringIO(), force_terminal=True, width=100, color_system=None)
    with demo.seeds_shown(console) as update:
        for look in LOOKS:
            update(look)
    last = [line.split() for line in console.file.getvalue().splitlines()[-3:-1]]
    assert [(words[1], words[-2]) for words in last] == [("260", "Succeeded"), ("261", "Pending")]
