"""The table that leads a scenario: its order, what its cells say, and what it is sorted by."""

import re

from supreme_core.api.summary import Floor
from supreme_core.report.lead import lead_table
from supreme_core.report.page import render_report
from supreme_core.report.tables import IndexedSummary
from tests.core.analysis.summaries import FACTS
from tests.core.report.given import WITH_TEST, indexed, kept_task, lost_task


def test_the_table_that_leads_has_the_references_first_and_the_nearest_method_next():
    found = indexed(
        **WITH_TEST,
        far=kept_task(0.5),
        near=kept_task(0.03),
        lost=lost_task(0.01),
        gone="failed",
        some=[None, *[kept_task(0.02)] * 4],
    )
    table = lead_table(found, "full_class")
    assert [line.title for line in table.references] == ["Original", "Retrained"]
    assert [line.title for line in table.methods] == ["near", "far", "lost", "some", "gone"]
    assert [(c.title, c.unit) for c in table.columns] == [
        ("forget accuracy", "gap, points"),
        ("test accuracy", "gap, points"),
        ("verdict", ""),
    ]
    shown = {
        line.title: [str(cell.shown) for cell in line.cells]
        for line in (*table.references, *table.methods)
    }
    assert shown["Retrained"] == ["0 at 1.0 %", "0 at 90.0 %", "–"]
    assert shown["near"][2] == "different"
    assert (
        shown["lost"][2] == "equivalent lost the task in 5 of 5 seeds; different in 1 of 2 metrics"
    )
    assert shown["some"][2].startswith("inconclusive 4 of 5 seeds")
    assert shown["gone"] == ["–", "–", "failed"]


def test_columns_are_sorted_by_the_distance_to_retrained_and_verdicts_by_how_good_they_are():
    facts = FACTS | {"speed_up": FACTS["wall_seconds"].model_copy(update={"direction": "higher"})}
    numbers = {"above": (0.31, 2.0), "below": (0.0, 4.0), "same": (0.01, 3.0)}
    found = indexed(
        metrics=("forget_accuracy", "speed_up"),
        facts=facts,
        **{
            name: {"forget_accuracy": accuracy, "speed_up": speed}
            for name, (accuracy, speed) in numbers.items()
        },
    )
    lines = lead_table(found, "full_class").methods

    def by(column):
        return [line.title for line in sorted(lines, key=lambda line: line.cells[column].order)]

    assert by(0) == ["same", "below", "above"]
    assert by(1) == ["below", "same", "above"]
    assert by(2)[0] == "same"


def test_of_a_distance_the_line_of_retrained_has_the_noise_floor():
    floor = Floor(n=4, mean=0.13, low=0.1, high=0.2, source="seeds")
    distances = {"original": 0.6, "retrained": 0.0, "ssd": 0.25}
    found = indexed(
        metrics=("forget_js_divergence",),
        **{name: {"forget_js_divergence": value} for name, value in distances.items()},
    )
    rows = [row.model_copy(update={"floor": floor}) for row in found.summary.rows]
    found = IndexedSummary(found.summary.model_copy(update={"rows": rows}))
    cells = [str(line.cells[0].shown) for line in lead_table(found, "full_class").references]
    assert cells[1] == "0.13 noise floor"


def test_the_figure_that_leads_has_a_line_also_for_a_method_without_a_value():
    found = indexed(ssd=0.3, salun="failed")
    page = render_report(found.summary).decode()
    figure = page[page.index("<figure") : page.index("</figure>")]
    texts = re.findall(r">([^<>]*)</text>", figure)
    labels = [text for text in texts if text[0].isalpha()]
    assert labels == [
        "forget accuracy: gap to Retrained, points",
        "Original",
        "ssd",
        "salun: no value",
        "Retrained, and its margin ±1.0 points",
    ]
