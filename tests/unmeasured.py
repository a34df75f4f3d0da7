"""The part of a summary that no machine and no clock has a share in."""

from supreme_core.analysis.files import dump
from supreme_core.analysis.provenance import provenance_of


def without_measurements(summary):
    """The part that must be the same bits whenever the same work is computed again.

    Left out: rows that are times or sizes of a machine, what is computed from them, and the
    machines.
    """
    provenance = provenance_of(summary)
    kept = provenance.model_copy(update={"environments": [], "mixed_environments": False})
    rows = [
        row.model_copy(
            update={
                "variance": row.variance and row.variance.model_copy(update={"best_repeats": None})
            }
        )
        for row in summary.rows
        if not provenance.metrics[row.metric].measured
    ]
    pareto = [front for front in summary.pareto if all(axis.role != "cost" for axis in front.axes)]
    return summary.model_copy(update={"rows": rows, "pareto": pareto, "provenance": dump(kept)})
