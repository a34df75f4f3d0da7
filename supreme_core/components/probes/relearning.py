"""Speed with which a model learns the forget set again."""

from functools import partial

from torch import optim

from supreme_core.engine.toolbox.probe_task import ProbeTask
from supreme_core.engine.training.fit import Fit, fit
from supreme_core.errors import MethodFailed
from supreme_core.randomness import streams
from supreme_core.registry import probe
from supreme_core.scoring.probe_settings import RelearningSettings


@probe(version=2, source="Golatkar et al. 2020, arXiv:1911.04933")
def relearning(task: ProbeTask, params: RelearningSettings) -> dict[str, float]:
    """Steps and samples of training on the forget set until it is known as well as to Original.

    A copy is trained by SGD on shuffled batches without augmentation, in full precision, until its
    accuracy on the forget set is at least (1 - tolerance) times Original's. Where that does not
    happen in the most steps that are allowed, or training diverges, these are what it took.
    """
    wanted = (1 - params.tolerance) * task.original.accuracy("forget")
    if task.subject.accuracy("forget") >= wanted:
        return {"steps": 0.0, "samples": 0.0}
    forget, network = task.sets["forget"], task.subject.copy()
    taken = params.max_steps
    in_epoch = -(-len(forget) // params.batch_size)

    def is_enough(done: int) -> bool:
        nonlocal taken
        if done % params.every == 0 and task.accuracy(network, "forget") >= wanted:
            taken = done
            return True
        return done == params.max_steps

    how = Fit(
        epochs=-(-params.max_steps // in_epoch),
        batch_size=params.batch_size,
        optimizer=partial(optim.SGD, lr=params.lr),
        is_enough=is_enough,
    )
    try:
        fit(
            network,
            forget,
            how,
            seed=streams.derive(task.seed, "relearning"),
            numerics=task.plain_numerics,
            report=task.report,
        )
    except MethodFailed:
        pass  # it never learns again, on any rank
    epochs, left = divmod(taken, in_epoch)
    samples = epochs * len(forget) + left * params.batch_size
    return {"steps": float(taken), "samples": float(samples)}
