"""The files of a summary: summary.json and summary.csv, and how they are read again. Pure."""

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from supreme_core.api.model import Document, parse_document, read_json
from supreme_core.api.summary import SUMMARY_VERSION, Gap, Summary
from supreme_core.errors import SpecError


def summary_json(summary: Summary) -> bytes:
    """summary.json: equal summaries give equal bytes; absent numbers are null, never NaN."""
    return as_json(summary)


def as_json(document: Document) -> bytes:
    """A document of numbers as a file, with all its fields."""
    text = json.dumps(dump(document), indent=1, ensure_ascii=False, allow_nan=False)
    return text.encode() + b"\n"


def read_summary(data: bytes, *, source: str) -> Summary:
    """summary.json as it was written; SpecError where it is none, or is of another version."""
    document = read_json(data, source=source)
    version = document.get("schemaVersion") if isinstance(document, dict) else None
    if version != SUMMARY_VERSION and isinstance(version, int):
        raise SpecError(
            f"{source} is a summary of version {version}, and this SUPREME reads version"
            f" {SUMMARY_VERSION}; `supreme report EXPERIMENT-URI` makes it anew from the results"
        )
    return parse_document(Summary, document, source=source)


def summary_csv(summary: Summary) -> bytes:
    """summary.csv: a line for each row, then one column for each seed; an empty field is no value.

    A text that a spreadsheet would run as a formula gets a leading apostrophe.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*CSV_COLUMNS, *(f"seed_{seed}" for seed in summary.seeds)])
    for row in summary.rows:
        writer.writerow(
            [
                *(harmless(text) for text in (row.scenario, row.method, row.metric)),
                *(row.n, row.seeds.asked, row.seeds.failed, row.seeds.undefined),
                *(row.seeds.infrastructure, row.seeds.pending),
                *(row.mean, row.sd, row.low, row.high),
                *_of_gap(row.gap),
                row.floor.mean if row.floor else None,
                *(row.values.get(str(seed)) for seed in summary.seeds),
            ]
        )
    return buffer.getvalue().encode()


CSV_COLUMNS = (
    *("scenario", "method", "metric"),
    *("n", "asked", "failed", "undefined", "infrastructure", "pending"),
    *("mean", "sd", "low", "high"),
    *("gap_mean", "gap_low", "gap_high", "gap_auc", "gap_auc_low", "gap_auc_high"),
    *("margin", "margin_source", "verdict", "remarks"),
    *("difference_p", "adjusted_p", "joint_p", "flip_p", "flip_adjusted_p", "equivalence_p"),
    "floor_mean",
)


def _of_gap(gap: Gap | None) -> Sequence[float | str | None]:
    if gap is None:
        return (None,) * 16
    apart = gap.told_apart
    return (
        *(gap.mean, gap.low, gap.high),
        *((apart.auc, apart.low, apart.high) if apart else (None, None, None)),
        *(gap.margin, gap.margin_source, gap.verdict, "; ".join(gap.remarks)),
        *(gap.difference_p, gap.adjusted_p, gap.joint_p),
        *(gap.flip_p, gap.flip_adjusted_p, gap.equivalence_p),
    )


def harmless(text: str) -> str:
    """Text as a field of a CSV file; one that a spreadsheet would run as a formula is quoted."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def dump(document: Document) -> dict[str, Any]:
    """All fields, also those that are None: a failed seed is a null in the table, not a gap."""
    return document.model_dump(mode="json", by_alias=True)
