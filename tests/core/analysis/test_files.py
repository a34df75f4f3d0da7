"""summary.json is read again, or refused with the command that makes it anew."""

import json

import pytest

from supreme_core.analysis.files import read_summary, summary_csv, summary_json
from supreme_core.errors import SpecError
from tests.core.analysis.summaries import summary


def test_a_summary_reads_back_as_the_same_summary():
    found = summary()
    assert read_summary(summary_json(found), source="summary.json") == found


@pytest.mark.parametrize("version", [1, 3])
def test_a_summary_of_another_version_is_refused_with_the_command_that_makes_it_anew(version):
    document = json.loads(summary_json(summary())) | {"schemaVersion": version}
    with pytest.raises(SpecError) as error:
        read_summary(json.dumps(document).encode(), source="digits/summary.json")
    assert str(error.value) == (
        f"digits/summary.json is a summary of version {version}, and this SUPREME reads version 2;"
        " `supreme report EXPERIMENT-URI` makes it anew from the results"
    )


@pytest.mark.parametrize("data", [b"{}", b"[]", b"3", b'{"schemaVersion": "two"}', b"{"])
def test_what_is_no_summary_is_refused_in_one_line(data):
    with pytest.raises(SpecError) as error:
        read_summary(data, source="summary.json")
    assert "summary.json" in str(error.value)


def test_csv_has_every_number_of_a_gap():
    found = summary(range(6))
    head, *lines = (line.split(",") for line in summary_csv(found).decode().splitlines())
    row = next(each for each in found.rows if each.method == "scrub" and each.gap)
    told = next(
        dict(zip(head, line, strict=True))
        for line in lines
        if line[:3] == [row.scenario, row.method, row.metric]
    )
    gap = row.gap
    numbers = {
        "gap_mean": gap.mean,
        "gap_low": gap.low,
        "gap_high": gap.high,
        "gap_auc": gap.told_apart.auc,
        "gap_auc_low": gap.told_apart.low,
        "gap_auc_high": gap.told_apart.high,
        "margin": gap.margin,
        "difference_p": gap.difference_p,
        "adjusted_p": gap.adjusted_p,
        "joint_p": gap.joint_p,
        "flip_p": gap.flip_p,
        "flip_adjusted_p": gap.flip_adjusted_p,
        "equivalence_p": gap.equivalence_p,
    }
    assert {name: float(told[name]) for name in numbers} == numbers
    assert (told["verdict"], told["margin_source"]) == (gap.verdict, gap.margin_source)
