"""The order of an experiment in the store: what an older one would lose to it, and `--replace`."""

from collections.abc import Iterator

from supreme_core.api.orders import ExperimentOrder
from supreme_core.checking.append_only import losses
from supreme_core.errors import SpecError, number_of
from supreme_core.report import words
from supreme_core.store.results import (
    ResultReader,
    computed_seeds,
    drop_results,
    read_sealed_order,
    write_order,
)
from supreme_core.store.storage import Storage


def check_order(
    storage: Storage, order: ExperimentOrder, results: ResultReader, *, replace: bool
) -> None:
    """Refuse, by a SpecError, an order by which results of an older one would be lost."""
    before = results.find_order(order.prefix)
    if not replace and before is not None:
        _refuse(storage, before, order)


def settle_order(
    storage: Storage, order: ExperimentOrder, results: ResultReader, *, replace: bool
) -> Iterator[str]:
    """Have the order in the store; the lines say what goes for it, before it goes.

    Where it is there already, with its digest, nothing is written, so that processes which share
    an experiment do not take turns in writing it. One that cannot be read is written anew.
    """
    before = results.find_order(order.prefix)
    if before == order and read_sealed_order(storage, order.prefix) == (order, True):
        return
    if before is not None:
        if not replace:
            _refuse(storage, before, order)
        elif changes := [*losses(before, order, computed_seeds(storage, before))]:
            yield f"--replace drops results of {storage.uri.rstrip('/')}/{order.prefix}:"
            yield from (f"  {change}" for change in changes)
            dropped = drop_results(storage, before, order, results)
            attempts = number_of(sum(map(len, dropped.values())), "result")
            yield (
                f"dropped {attempts}, of seeds {words.seed_ranges([*dropped])}, with tables and"
                " report; stages that are the same are found again"
                if dropped
                else "no result was left that answers other work"
            )
    write_order(storage, order)


def changed_meanwhile(
    order: ExperimentOrder, newest: ExperimentOrder, computed: list[int]
) -> str | None:
    """Change that another process made to the order that this one has computed; None if there is
    none."""
    lost = "; ".join(losses(order, newest, computed))
    return f"another process has changed this experiment meanwhile: {lost}" if lost else None


def _refuse(storage: Storage, before: ExperimentOrder, order: ExperimentOrder) -> None:
    computed = computed_seeds(storage, before)
    if lost := [*losses(before, order, computed)]:
        raise SpecError(
            "\n".join(lost) + f"\n{storage.uri.rstrip('/')}/{order.prefix} has results of seeds"
            f" {words.seed_ranges(computed)}, which this change would lose; give the experiment"
            " another metadata.name, or drop them by --replace: what is computed already is reused"
            " either way"
        )
