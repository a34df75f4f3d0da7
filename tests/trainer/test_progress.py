"""How far a run is: the board of all seeds under a clock of our own, and its two displays."""

from dataclasses import asdict
from io import StringIO

import pytest
from rich.console import Console
from supreme_trainer.progress import Board, LineDisplay, LiveDisplay, display, time_left

from supreme_core.plan import Step

ORIGINAL = Step("original")
FINETUNE = Step("unlearned", "full_class", "finetune")
STEPS = (
    ORIGINAL,
    Step("retrained", "full_class", "retrained"),
    FINETUNE,
    Step("unlearned", "random_samples", "finetune"),
)


class Clock:
    """Seconds that pass when a test says so."""

    now = 100.0

    def __call__(self):
        return self.now


def board(*, seeds=(1, 2), parallel=1, clock=None):
    return Board(seeds, STEPS, parallel=parallel, clock=clock or Clock())


def event(kind, step, **facts):
    return {"event": kind, **asdict(step), **facts}


def started(step):
    return event("stage-started", step)


def finished(step, seconds=10.0, status="computed"):
    return event("stage-finished", step, status=status, seconds=seconds)


def step_done(done, total, loss=0.125):
    facts = {"done": done, "total": total, "loss": loss, "note": "epoch 2/8", "epoch": 2}
    return {"event": "progress", "images": 64 * done, "memory": 2**20, **facts}


def test_nothing_is_promised_before_anything_is_known():
    assert board().remaining_seconds() is None


def test_the_time_left_is_the_mean_of_each_kind_over_what_is_left():
    progress = board()
    for step in STEPS:
        progress.apply(1, finished(step, 10.0))

    assert progress.remaining_seconds() == pytest.approx(40.0)


def test_seeds_side_by_side_take_as_long_as_the_share_of_one():
    progress = board(seeds=(1, 2, 3), parallel=2)
    for step in STEPS:
        progress.apply(1, finished(step, 10.0))

    assert progress.remaining_seconds() == pytest.approx(80.0 / 2)


def test_the_last_seed_alone_does_not_share_its_time():
    progress = board(parallel=2)
    for step in STEPS:
        progress.apply(1, finished(step, 10.0))

    assert progress.remaining_seconds() == pytest.approx(40.0)


def test_a_kind_is_estimated_from_the_same_method_in_another_scenario():
    progress = board(seeds=(1,))
    for step in STEPS[:3]:
        progress.apply(1, finished(step, 7.0))

    assert progress.remaining_seconds() == pytest.approx(7.0)


def test_what_is_found_in_the_store_says_nothing_about_time():
    progress = board()
    for step in STEPS:
        progress.apply(1, finished(step, 0.0, "reused"))

    assert progress.remaining_seconds() is None


def test_time_that_a_running_stage_has_behind_it_counts():
    clock = Clock()
    progress = board(clock=clock)
    for step in STEPS:
        progress.apply(1, finished(step, 10.0))
    progress.apply(2, started(ORIGINAL))
    clock.now += 4

    assert progress.remaining_seconds() == pytest.approx(36.0)


def test_a_stage_that_takes_longer_than_expected_is_neither_done_nor_overdue():
    clock = Clock()
    progress = board(clock=clock)
    for step in STEPS:
        progress.apply(1, finished(step, 10.0))
    for step in STEPS[:3]:
        progress.apply(2, finished(step, 10.0))
    progress.apply(2, started(STEPS[3]))
    clock.now += 10_000

    assert progress.remaining_seconds() == 1.0


def test_nothing_is_left_when_every_step_is_done():
    progress = board()
    for seed in (1, 2):
        for step in STEPS:
            progress.apply(seed, finished(step))

    assert (progress.done, progress.total) == (8, 8)
    assert progress.remaining_seconds() == 0.0


def test_done_counts_what_was_computed_found_and_failed():
    progress = board(seeds=(1,))
    for step, status in zip(STEPS, ("reused", "computed", "failed"), strict=False):
        progress.apply(1, finished(step, status=status))

    assert (progress.done, progress.total) == (3, 4)


@pytest.mark.parametrize(
    "unknown",
    [
        finished(Step("metrics", "full_class", "finetune")),
        finished(Step("unlearned", "full_class", "no-such-method")),
        started(Step("no-such-stage")),
        {"event": "words of a plug-in"},
    ],
    ids=["small stage", "other method", "other stage", "other event"],
)
def test_events_of_what_is_not_in_the_plan_are_ignored(unknown):
    progress = board()

    assert progress.apply(1, unknown) is None
    assert progress.done == 0
    assert progress.seed(1).running is None


def test_a_step_that_is_told_twice_counts_once():
    progress = board()

    assert progress.apply(1, finished(ORIGINAL)) == ORIGINAL
    assert progress.apply(1, finished(ORIGINAL)) is None
    assert progress.done == 1


def test_a_new_stage_starts_at_nothing():
    progress = board()
    progress.apply(1, started(ORIGINAL))
    progress.apply(1, step_done(3, 4))
    progress.apply(1, finished(ORIGINAL))
    progress.apply(1, started(FINETUNE))

    state = progress.seed(1)
    assert (state.running, state.fraction, state.loss, state.note) == (FINETUNE, 0.0, None, "")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "time left not known yet"),
        (0.0, "done"),
        (0.5, "about 5 s left"),
        (12.4, "about 10 s left"),
        (89.0, "about 90 s left"),
        (150.0, "about 2 min left"),
        (7200.0, "about 120 min left"),
    ],
)
def test_time_left_in_words(seconds, words):
    assert time_left(seconds) == words


def test_a_pipe_gets_a_line_for_each_finished_step_with_count_and_no_escape_codes():
    out, progress = StringIO(), board(seeds=(1,))
    lines = display(Console(file=out, width=40), progress)
    assert isinstance(lines, LineDisplay)

    lines.begin(1)
    for told in (started(ORIGINAL), finished(ORIGINAL, 1.25), finished(FINETUNE, 0, "reused")):
        lines.update(1, told, progress.apply(1, told))
    lines.end(1, "done")
    lines.close()

    assert out.getvalue().splitlines() == [
        "seed 1: started",
        "seed 1: original computed in 1.2 s (1/4, time left not known yet)",
        "seed 1: finetune · full_class reused (2/4, time left not known yet)",
        "seed 1: done",
    ]


def test_a_terminal_shows_each_seed_with_its_stage_and_loss():
    out, progress = StringIO(), board(seeds=(7,))
    console = Console(force_terminal=True, file=out, width=120, color_system=None)
    live = display(console, progress)
    assert isinstance(live, LiveDisplay)

    live.begin(7)
    for told in (started(FINETUNE), step_done(1, 2)):
        live.update(7, told, progress.apply(7, told))
    live._bars.refresh()
    shown = out.getvalue()
    told = finished(FINETUNE)
    live.update(7, told, progress.apply(7, told))
    live.end(7, "done")
    live.close()

    assert "seed 7" in shown
    assert "finetune · full_class  epoch 2/8  loss 0.125" in shown
    assert "1/4" in out.getvalue()
    assert "seed 7: done" in out.getvalue()


def test_a_loss_that_is_no_number_is_not_shown():
    out, progress = StringIO(), board(seeds=(7,))
    live = LiveDisplay(Console(force_terminal=True, file=out, width=120), progress)
    live.begin(7)

    for told in (started(FINETUNE), step_done(1, 2, loss=None)):
        live.update(7, told, progress.apply(7, told))
    live.close()

    assert "epoch 2/8" in out.getvalue()
    assert "loss" not in out.getvalue()


def test_foreign_text_is_shown_as_it_is_and_not_read_as_markup():
    out = StringIO()
    lines = LineDisplay(Console(file=out), board())

    lines.end(1, "failed: [bold]KeyError[/nothing]")

    assert out.getvalue() == "seed 1: failed: [bold]KeyError[/nothing]\n"
