"""Teams: processes of one machine that have nothing left to take go on with a training together.

Bits do not depend on the number of ranks, and a checkpoint is continued by any number. So whoever
starts the processes of a machine stops those that are in trainings, and those that wait; has ranks
under torchrun go on with each of the trainings, and leave; and goes on with single processes. What
unlearning takes is compared, so no team has a part in it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from supreme_trainer.process.launch import Trainer
from supreme_trainer.process.progress import Board

from supreme_core.plan import Step

LEAST_SECONDS = 120.0
"""Time that a training still needs for a team to go on with it. To stop it, to start ranks that
load torch and the data and meet, and to start single processes afterwards takes some 25 s, and two
ranks on two cores are 1.3 times as fast as one: they save that much of 110 s."""

ALONE = 1

StepOfSeed = tuple[int, Step]


def size_of_teams(
    left: Sequence[float | None], *, processes: int, micro_batches: int, least: float
) -> int:
    """Ranks of each team, one for each training; ALONE where there should be none.

    left: seconds that each process still needs for its training, None for one that does anything
    else, or at a pace that is not known.  processes: those of the machine, busy or not.
    least: seconds for which teams are worth it.
    """
    if not left or any(each is None or each < least for each in left):
        return ALONE
    fitting = range(ALONE, processes // len(left) + 1)
    return max((ranks for ranks in fitting if micro_batches % ranks == 0), default=ALONE)


@dataclass(frozen=True)
class Plan:
    """Teams that are to be: how many ranks each has, and what they go on with."""

    size: int
    trainings: Sequence[StepOfSeed]


@dataclass
class Teams:
    """Teams of one machine.

    processes: how many there is room for, on GPUs one for each; ALONE where there are to be no
    teams.  planned: the teams for which all trainers are stopping; None where there are none.
    """

    processes: int
    micro_batches: int
    planned: Plan | None = field(default=None, init=False)
    _had: set[StepOfSeed] = field(default_factory=set)
    _without: set[int] = field(default_factory=set)

    def make_way(self, board: Board, at_work: Sequence[tuple[int, Trainer]]) -> None:
        """Stop all trainers where teams should go on with what they do.

        at_work: each of them, with its seed.
        """
        if self.planned:
            return
        self.planned = self.plan(board, [(seed, trainer.place) for seed, trainer in at_work])
        if self.planned:
            for _, trainer in at_work:
                trainer.make_way()

    def take_planned(self) -> Plan | None:
        """The teams to start, now that all trainers have stopped; None where none were planned."""
        plan, self.planned = self.planned, None
        return plan

    def plan(self, board: Board, at_work: Iterable[tuple[int, int]]) -> Plan | None:
        """The teams that should take over now; None where none should.

        at_work: seed and number, on the board, of each process.
        """
        busy = [(seed, number) for seed, number in at_work if not board.waits(seed, number)]
        found = [board.training_of(seed, number) for seed, number in busy]
        trainings = [(seed, step) for (seed, _), (step, _) in zip(busy, found, strict=True) if step]
        if self._without & {seed for seed, _ in busy} or self._had & {*trainings}:
            return None
        size = size_of_teams(
            [seconds for _, seconds in found],
            processes=self.processes,
            micro_batches=self.micro_batches,
            least=LEAST_SECONDS,
        )
        if size == ALONE:
            return None
        self._had |= {*trainings}
        return Plan(size, trainings)

    def learn_from(self, trainer: Trainer, seed: int) -> None:
        """Form no more teams for a seed of which one was lost, or a single trainer, as the next one
        may be."""
        if trainer.failure and not trainer.has_made_way:
            self._without.add(seed)
