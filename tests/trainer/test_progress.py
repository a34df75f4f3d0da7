"""Progress of a run: the board of all seeds under a clock of our own, and its two displays."""

from dataclasses import asdict
from io import BytesIO, StringIO, TextIOWrapper

import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text
from supreme_trainer.process.journal import sentence
from supreme_trainer.process.progress import Board, LineDisplay, LiveDisplay, TimeLeft, display

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


def board(*, seeds=(1, 2), parallel=1, clock=None, is_shared=False):
    return Board(seeds, STEPS, parallel=parallel, clock=clock or Clock(), is_shared=is_shared)


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
    assert board().time_left() is None


def test_the_time_left_is_the_mean_of_each_kind_over_what_is_left():
    progress = board()
    for step in STEPS:
        progress.apply(1, finished(step, 10.0))

    assert progress.time_left() == TimeLeft(pytest.approx(40.0), unknown=0)


def test_seeds_side_by_side_take_as_long_as_the_share_of_one():
    progress = board(seeds=(1, 2, 3), parallel=2)
    for step in STEPS:
        progress.apply(1, finished(step, 10.0))

    assert progress.time_left() == TimeLeft(pytest.approx(80.0 / 2), unknown=0)


def test_the_last_seed_alone_does_not_share_its_time():
    progress = board(parallel=2)
    for step in STEPS:
        progress.apply(1, finished(step, 10.0))

    assert progress.time_left() == TimeLeft(pytest.approx(40.0), unknown=0)


def test_workers_share_all_that_is_left_but_for_the_longest_stage():
    clock = Clock()
    progress = board(parallel=4, is_shared=True, clock=clock)
    for step in STEPS:
        progress.apply(1, finished(step, 10.0))
    assert progress.time_left() == TimeLeft(pytest.approx(10.0), unknown=0)

    for worker, step in enumerate(STEPS[:3]):
        progress.apply(2, finished(step, 10.0), worker)
    progress.apply(2, started(STEPS[3]), 3)
    clock.now += 2
    assert progress.time_left() == TimeLeft(pytest.approx(8.0), unknown=0)


def test_a_kind_is_estimated_from_the_same_method_in_another_scenario():
    progress = board(seeds=(1,))
    for step in STEPS[:3]:
        progress.apply(1, finished(step, 7.0))

    assert progress.time_left() == TimeLeft(pytest.approx(7.0), unknown=0)


def test_what_is_found_in_the_store_says_nothing_about_time():
    progress = board()
    for step in STEPS:
        progress.apply(1, finished(step, 0.0, "reused"))

    assert progress.time_left() is None


def test_the_time_until_a_trainer_says_something_counts_for_the_seeds_after_it():
    clock = Clock()
    progress = board(clock=clock)
    progress.begin(1)
    clock.now += 30
    for step in STEPS:
        progress.apply(1, finished(step, 10.0))
    assert progress.time_left() == TimeLeft(pytest.approx(70.0), unknown=0)

    progress.begin(2)
    clock.now += 20
    assert progress.time_left() == TimeLeft(pytest.approx(50.0), unknown=0)
    clock.now += 20
    assert progress.time_left() == TimeLeft(pytest.approx(40.0), unknown=0)


def test_time_that_a_running_stage_has_behind_it_counts():
    clock = Clock()
    progress = board(clock=clock)
    for step in STEPS:
        progress.apply(1, finished(step, 10.0))
    progress.apply(2, started(ORIGINAL))
    clock.now += 4

    assert progress.time_left() == TimeLeft(pytest.approx(36.0), unknown=0)


def test_nobody_knows_how_long_a_stage_takes_that_takes_longer_than_its_kind():
    clock = Clock()
    progress = board(clock=clock)
    for step in STEPS:
        progress.apply(1, finished(step, 10.0))
    for step in STEPS[:3]:
        progress.apply(2, finished(step, 10.0))
    progress.apply(2, started(STEPS[3]))
    clock.now += 10_000

    assert progress.time_left() is None


def test_nothing_is_left_when_every_step_is_done():
    progress = board()
    for seed in (1, 2):
        for step in STEPS:
            progress.apply(seed, finished(step))

    assert (progress.done, progress.total) == (8, 8)
    assert progress.time_left() == TimeLeft(0.0, unknown=0)


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
    now = state.first
    assert (now.step, now.fraction, now.loss, now.note) == (FINETUNE, 0.0, None, "")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.5, "5 s left"),
        (12.4, "10 s left"),
        (89.0, "90 s left"),
        (150.0, "2 min left"),
        (7200.0, "120 min left"),
        (100_000.0, "28 h left"),
    ],
)
def test_time_left_in_words(seconds, words):
    assert str(TimeLeft(seconds, unknown=0)) == f"about {words}"
    assert str(TimeLeft(seconds, unknown=1)) == f"at least {words}"


def test_no_time_left_is_done():
    assert str(TimeLeft(0.0, unknown=0)) == "done"


def test_kinds_that_were_not_seen_yet_make_the_time_left_a_least_one():
    progress = board(seeds=(1,))
    progress.apply(1, finished(STEPS[1], 10.0))
    assert progress.time_left() is None  # one retrained model says nothing about the other kinds

    progress = board()
    progress.apply(1, finished(ORIGINAL, 10.0))
    assert progress.time_left() == TimeLeft(10.0, unknown=6)


def test_a_least_time_says_how_many_stages_it_does_not_count():
    out, progress = StringIO(), board()
    lines = display(Console(file=out), progress)
    for step in STEPS[:3]:
        lines.update(1, finished(step), progress.apply(1, finished(step)))

    assert [line.partition(" (")[2] for line in out.getvalue().splitlines()] == [
        "1/8, at least 10 s left, 6 stages of unknown time)",
        "2/8, at least 20 s left, 4 stages of unknown time)",
        "3/8, about 50 s left)",
    ]


def test_no_time_is_told_where_all_that_is_known_is_that_small_stages_are_fast():
    progress = board()
    progress.apply(1, finished(ORIGINAL, 0.2))
    assert progress.time_left() is None


def test_the_pace_of_a_training_tells_how_long_it_and_those_like_it_take():
    clock = Clock()
    progress = board(clock=clock)
    progress.apply(1, started(ORIGINAL))
    progress.apply(1, step_done(0, 10))
    clock.now += 5
    progress.apply(1, step_done(2, 10))

    # 20 s for the rest of this one, 25 s for that of the other seed; of others nobody knows
    assert progress.time_left() == TimeLeft(pytest.approx(45.0), unknown=6)
    clock.now += 5
    assert progress.time_left() == TimeLeft(pytest.approx(40.0), unknown=6)


def test_a_training_that_goes_on_from_a_checkpoint_is_not_taken_for_a_fast_one():
    clock = Clock()
    progress = board(seeds=(1,), clock=clock)
    progress.apply(1, started(ORIGINAL))
    clock.now += 1
    progress.apply(1, step_done(8, 10))
    assert progress.time_left() is None
    clock.now += 10
    progress.apply(1, step_done(9, 10))

    assert progress.time_left() == TimeLeft(pytest.approx(10.0), unknown=3)


def test_the_pace_of_one_loop_of_a_method_is_only_the_least_that_it_takes():
    clock = Clock()
    progress = board(seeds=(1,), clock=clock)
    for step in STEPS[:2]:
        progress.apply(1, finished(step, 7.0))
    progress.apply(1, started(FINETUNE))
    progress.apply(1, step_done(0, 10))
    clock.now += 10
    progress.apply(1, step_done(5, 10))
    assert progress.time_left() == TimeLeft(pytest.approx(10.0), unknown=2)
    progress.apply(1, step_done(1, 10))  # the next loop

    assert progress.time_left() is None


def test_what_failed_says_nothing_about_time():
    progress = board()
    for step in STEPS:
        progress.apply(1, finished(step, 0.1, "failed"))

    assert progress.time_left() is None


def test_the_longest_seed_is_the_least_that_all_of_them_take():
    progress = board(seeds=(1, 2, 3), parallel=3)
    for step in STEPS:
        progress.apply(1, finished(step, 10.0))
    for step in STEPS[:3]:
        progress.apply(2, finished(step, 10.0))

    assert progress.time_left() == TimeLeft(pytest.approx(40.0), unknown=0)


def test_computed_found_and_failed_add_up_to_the_stages_that_are_done():
    progress = board(seeds=(1,))
    for step, status in zip(STEPS, ("reused", "computed", "failed"), strict=False):
        progress.apply(1, finished(step, status=status))
    assert progress.ended == {"reused": 1, "computed": 1, "failed": 1}

    progress.apply(1, finished(ORIGINAL))  # what was found was damaged
    assert progress.ended == {"computed": 2, "failed": 1}
    assert progress.done == sum(progress.ended.values()) == 3


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


LONG = Step("unlearned", "random_samples", "何度も忘れる方法-with-a-rather-long-label-of-its-own")
WIDTHS = (40, 60, 80, 100, 120)


def live(*, width, seeds=(7,), steps=STEPS, clock=None, **console):
    """(display, board, what it draws now as lines)."""
    progress = Board(seeds, steps, parallel=1, clock=clock or Clock())
    screen = Console(force_terminal=True, file=StringIO(), width=width, height=30, **console)
    shown = display(screen, progress)
    assert isinstance(shown, LiveDisplay)
    shown.close()  # the lines are asked for, not a thread

    def lines():
        with screen.capture() as captured:
            screen.print(shown._draw())
        return [Text.from_ansi(line).plain for line in captured.get().splitlines()]

    return shown, progress, lines


@pytest.mark.parametrize("width", WIDTHS)
def test_a_live_line_is_never_wrapped_and_its_numbers_are_whole_or_left_out(width):
    clock = Clock()
    shown, progress, lines = live(width=width, seeds=(260, 261), steps=(*STEPS, LONG), clock=clock)
    for seed in (260, 261):
        shown.begin(seed)
    for seed, step in ((260, ORIGINAL), (261, LONG)):
        for told in (started(step), step_done(0, 8), step_done(3, 8)):
            clock.now += 1234
            shown.update(seed, told, progress.apply(seed, told))

    drawn = lines()
    assert len(drawn) == 3
    assert all(cell_len(line) <= width for line in drawn)
    assert "0/10" in drawn[0]
    assert "original" in drawn[1]
    for line in drawn:
        for name, whole in (("loss", "loss 0.125"), ("epoch", "epoch 2/8"), ("left", "min left")):
            assert (name in line) == (whole in line)
    assert ("2:03:24" in drawn[0]) == (width >= 60)
    assert ("━" in drawn[1]) == (width >= 80)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_terminal_that_is_not_utf_8_gets_ascii_only(width):
    file = TextIOWrapper(BytesIO(), encoding="ascii")
    progress = board(seeds=(7,))
    shown = LiveDisplay(Console(force_terminal=True, file=file, width=width), progress)
    shown.begin(7)
    for told in (started(FINETUNE), step_done(1, 2)):
        shown.update(7, told, progress.apply(7, told))
    shown.close()
    file.flush()

    assert "finetune" in file.buffer.getvalue().decode("ascii")


def test_a_seed_says_that_it_is_starting_until_its_trainer_says_something():
    shown, progress, lines = live(width=80)
    shown.begin(7)
    assert "starting (loading torch)" in lines()[1]

    told = {"event": "environment", "facts": {"torch": "2.9"}}
    shown.update(7, told, progress.apply(7, told))
    assert "starting" not in "".join(lines())


def test_a_terminal_shows_each_seed_with_its_stage_and_loss():
    shown, progress, lines = live(width=120)
    shown.begin(7)
    for told in (started(FINETUNE), step_done(1, 2)):
        shown.update(7, told, progress.apply(7, told))
    assert "finetune · full_class  epoch 2/8  loss 0.125" in lines()[1]

    told = finished(FINETUNE)
    shown.update(7, told, progress.apply(7, told))
    assert "finetune · full_class computed in 10.0 s" in lines()[1]
    shown.end(7, "done")
    assert "1/4" in lines()[0]
    assert "seed 7: done" in shown._console.file.getvalue()


def test_a_terminal_that_cannot_move_its_cursor_gets_lines():
    console = Console(force_terminal=True, file=StringIO(), _environ={"TERM": "dumb"})
    assert isinstance(display(console, board()), LineDisplay)


def test_a_loss_that_is_no_number_is_not_shown():
    shown, progress, lines = live(width=120)
    shown.begin(7)
    for told in (started(FINETUNE), step_done(1, 2, loss=None)):
        shown.update(7, told, progress.apply(7, told))

    assert "epoch 2/8" in lines()[1]
    assert "loss" not in lines()[1]


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (started(ORIGINAL), "original started"),
        (finished(ORIGINAL, 1.25), "original computed in 1.2 s"),
        (finished(ORIGINAL, 0.0, "reused"), "original reused"),
        ({"event": "environment", "facts": {"torch": "2.9", "image": ""}}, "torch 2.9"),
        (step_done(1, 2), ""),
        ({"event": "words of a plug-in"}, ""),
    ],
)
def test_the_sentence_of_an_event(told, said):
    assert sentence(told) == said


def test_foreign_text_is_shown_as_it_is_and_not_read_as_markup():
    out = StringIO()
    lines = LineDisplay(Console(file=out), board())

    lines.end(1, "failed: [bold]KeyError[/nothing]")

    assert out.getvalue() == "seed 1: failed: [bold]KeyError[/nothing]\n"
