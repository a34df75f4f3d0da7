"""The sentence that leads a scenario, from summaries whose numbers a reader can check.

Each case gives values by seed; what follows (gaps, verdicts, collapses) is computed as always.
"""

import pytest

from supreme_core.api.summary import Floor
from supreme_core.report import tables
from supreme_core.report.answer import answer
from supreme_core.report.terminal import terminal_tables
from tests.core.analysis.summaries import with_choices
from tests.core.report.given import FIVE, WITH_TEST, indexed, kept_task, lost_task

NEAR = (0.01, 0.02, 0.01, 0.02, 0.01)  # a gap of 0.4 points
WIDE = (0.01, 0.21, 0.01, 0.11, 0.01)

SAID = {
    "an equivalent one": (
        {"lfssd": NEAR, "finetune": 0.98, "unsir": 0.99},
        "Of 3 methods, lfssd is nearest to Retrained: forget accuracy 0.4 points away, equivalent"
        " within 1.0 points; finetune and unsir did not forget: +97 to +98 points.",
    ),
    "an inconclusive one": (
        {"ssd": WIDE, "salun": 0.5},
        "Of 2 methods, ssd is nearest to Retrained: forget accuracy 6.0 points away, not shown to"
        " be equivalent within 1.0 points.",
    ),
    "a different one": (
        {"ssd": 0.3, "salun": 0.5},
        "Of 2 methods, ssd is nearest to Retrained: forget accuracy 29.0 points away, yet different"
        " from it.",
    ),
    "none forgot": (
        {"ssd": 0.97, "salun": 0.98},
        "Of 2 methods, ssd is nearest to Retrained: forget accuracy 96.0 points away, yet different"
        " from it; none of them forgot: +96 to +97 points.",
    ),
    "the nearest ones did not forget": (
        {"ssd": 0.97, "salun": 0.98, "over": [None, *[0.97] * 4]},
        "Of 3 methods, ssd is nearest to Retrained: forget accuracy 96.0 points away, yet different"
        " from it; it and salun did not forget: +96 to +97 points; over has values of fewer seeds.",
    ),
    "ties": (
        {"a": 0.01, "b": 0.01, "c": 0.5},
        "Of 3 methods, a and b are nearest to Retrained: forget accuracy 0.0 points away,"
        " equivalent within 1.0 points.",
    ),
    "ties with several verdicts": (
        {"a": 0.03, "b": (0.0, 0.06, 0.0, 0.06, 0.03)},
        "Of 2 methods, a and b are nearest to Retrained: forget accuracy 2.0 points away, a"
        " different from it, b not shown to be equivalent within 1.0 points.",
    ),
    "many ties": (
        {name: 0.01 for name in "abcdef"},
        "Of 6 methods, a, b, c and 3 more are nearest to Retrained: forget accuracy 0.0 points"
        " away, equivalent within 1.0 points.",
    ),
    "another that is equivalent": (
        {"a": 0.01, "b": NEAR, "c": 0.5},
        "Of 3 methods, a is nearest to Retrained: forget accuracy 0.0 points away, equivalent"
        " within 1.0 points; equivalent too: b.",
    ),
    "one method": (
        {"ssd": NEAR},
        "The only method, ssd, is compared with Retrained: forget accuracy 0.4 points away,"
        " equivalent within 1.0 points.",
    ),
    "one method that did not forget": (
        {"ssd": 0.99},
        "The only method, ssd, is compared with Retrained: forget accuracy 98.0 points away, yet"
        " different from it; it did not forget: +98 points.",
    ),
    "one seed": (
        {"seeds": [7], "ssd": 0.03, "salun": 0.99},
        "Of 2 methods, ssd is nearest to Retrained: forget accuracy 2.0 points away, in 1 seed, too"
        " few to call it equivalent.",
    ),
    "one method and one seed": (
        {"seeds": [7], "ssd": 0.03},
        "The only method, ssd, is compared with Retrained: forget accuracy 2.0 points away, in 1"
        " seed, too few to call it equivalent.",
    ),
    "seeds that are pending": (
        {"asked": range(8), "ssd": 0.3, "salun": 0.5},
        "By 5 of 8 seeds: of 2 methods, ssd is nearest to Retrained: forget accuracy 29.0 points"
        " away, yet different from it.",
    ),
    "no result": (
        {"seeds": [], "asked": FIVE, "ssd": 0.3},
        "No seed has a result yet, so nothing is known.",
    ),
    "a failed method": (
        {"ssd": NEAR, "salun": "failed", "scrub": ["failed", *[0.5] * 4]},
        "Of 3 methods, ssd is nearest to Retrained: forget accuracy 0.4 points away, equivalent"
        " within 1.0 points; salun failed in every seed; scrub failed in 1 of 5"
        " seeds.",
    ),
    "every method failed": (
        {"ssd": "failed", "salun": "failed"},
        "Of 2 methods, none has a value of forget accuracy; ssd and salun failed in every seed.",
    ),
    "every method failed in some seed": (
        {"ssd": ["failed", *[0.5] * 4], "salun": [0.5, "failed", *[0.5] * 3]},
        "Of 2 methods, none both kept the task and gave a value of forget accuracy in every seed;"
        " ssd and salun failed in 1 of 5 seeds.",
    ),
    "no Retrained": (
        {"retrained": "failed", "ssd": 0.3},
        "Retrained has no value of forget accuracy, so no distance to it is known.",
    ),
    "a lost task": (
        {
            **WITH_TEST,
            "ssd": [kept_task(value) for value in WIDE],
            "neg_grad": lost_task(0.01),
            "ct": [lost_task(0.01), *[kept_task(0.01)] * 4],
        },
        "Of 3 methods, ssd is nearest to Retrained: forget accuracy 6.0 points away, not shown to"
        " be equivalent within 1.0 points; neg_grad lost the task in every seed, and ct in 1 of"
        " 5 seeds.",
    ),
    "every method lost the task": (
        {**WITH_TEST, "neg_grad": lost_task(0.01), "prmq": lost_task(0.01)},
        "Of 2 methods, none both kept the task and gave a value of forget accuracy in every seed;"
        " neg_grad and prmq lost the task in every seed.",
    ),
    "equivalent in this metric only": (
        {**WITH_TEST, "ssd": kept_task(0.01, test=0.7), "salun": kept_task(0.5)},
        "Of 2 methods, ssd is nearest to Retrained: forget accuracy 0.0 points away, equivalent"
        " within 1.0 points, but different in 1 of 2 metrics.",
    ),
    "equivalent in this metric, and not shown to be in another": (
        {
            **WITH_TEST,
            "ssd": [kept_task(0.01, test=test) for test in (0.9, 0.8, 0.9, 0.95, 0.9)],
            "salun": kept_task(0.5),
        },
        "Of 2 methods, ssd is nearest to Retrained: forget accuracy 0.0 points away, equivalent"
        " within 1.0 points, but shown in only 1 of 2 metrics.",
    ),
    "nothing to forget": (
        {"original": 0.01, "ssd": 0.01, "salun": 0.05},
        "Of 2 methods, ssd is nearest to Retrained: forget accuracy 0.0 points away, equivalent"
        " within 1.0 points; Original, which forgot nothing, is no further away, so forget accuracy"
        " does not show who forgot.",
    ),
    "one that lost the task in some seeds": (
        {
            **WITH_TEST,
            "ssd": kept_task(0.3),
            "ct": [lost_task(0.01), lost_task(0.01), *[kept_task(0.01)] * 3],
        },
        "Of 2 methods, ssd is nearest to Retrained: forget accuracy 29.0 points away, yet different"
        " from it; ct lost the task in 2 of 5 seeds.",
    ),
    "equivalent in every metric": (
        {**WITH_TEST, "ssd": kept_task(0.01), "salun": kept_task(0.5)},
        "Of 2 methods, ssd is nearest to Retrained: forget accuracy 0.0 points away, equivalent"
        " within 1.0 points, also in each of 2 metrics.",
    ),
    "a distance": (
        {
            "metrics": ("forget_js_divergence",),
            "original": {"forget_js_divergence": 0.6},
            "retrained": {"forget_js_divergence": 0.0},
            "ssd": {"forget_js_divergence": 0.25},
            "salun": {"forget_js_divergence": 0.31},
        },
        "Of 2 methods, ssd is nearest to Retrained: forget JS divergence 0.250 nats.",
    ),
    "what is measured": (
        {
            "metrics": ("wall_seconds",),
            "original": {"wall_seconds": None},
            "retrained": {"wall_seconds": 9.0},
            "ssd": {"wall_seconds": 2.0},
        },
        "The primary metric, wall seconds, is measured and tells no distance to Retrained.",
    ),
}


@pytest.mark.parametrize(("given", "said"), SAID.values(), ids=SAID)
def test_the_answer_says_what_the_numbers_say(given, said):
    assert answer(indexed(**given), "full_class") == said


@pytest.mark.parametrize(
    ("searched", "track", "of"),
    [
        (("ssd",), "oracle", "Of 2 methods, 1 of them tuned (oracle) and also as given, ssd is"),
        (("ssd", "salun"), "blind", "Of 2 methods, all tuned (blind) and also as given, ssd is"),
    ],
)
def test_of_tuned_methods_the_answer_says_so_and_by_what(searched, track, of):
    found = indexed(**{"ssd": 0.3, "salun": 0.5, "ssd.as-given": 0.7})
    told = with_choices(found.summary, *searched, track=track)
    assert answer(tables.IndexedSummary(told), "full_class").startswith(of)


TRACKS = {
    "each has its nearest": (
        {"scrub": 0.3, "lfssd": 0.98, "scrub.as-given": 0.5, "ssd": NEAR},
        "Of 3 methods, 2 of them tuned (oracle) and also as given, scrub is nearest to Retrained of"
        " the tuned ones: forget accuracy 29.0 points away, yet different from it; lfssd did not"
        " forget: +97 points; ssd is nearest to Retrained of those as given: forget accuracy 0.4"
        " points away, equivalent within 1.0 points.",
    ),
    "none of the tuned ones": (
        {"scrub": ["failed", *[0.3] * 4], "lfssd": ["failed", *[0.3] * 4], "ssd": NEAR},
        "Of 3 methods, 2 of them tuned (oracle), none of the tuned ones both kept the task and gave"
        " a value of forget accuracy in every seed; ssd is nearest to Retrained of those as given:"
        " forget accuracy 0.4 points away, equivalent within 1.0 points; scrub and lfssd failed in"
        " 1 of 5 seeds.",
    ),
    "none of those as given": (
        {"scrub": NEAR, "lfssd": 0.3, "ssd": "failed"},
        "Of 3 methods, 2 of them tuned (oracle), scrub is nearest to Retrained of the tuned ones:"
        " forget accuracy 0.4 points away, equivalent within 1.0 points; none of those as given"
        " both kept the task and gave a value of forget accuracy in every seed; ssd failed in every"
        " seed.",
    ),
}


@pytest.mark.parametrize(("given", "said"), TRACKS.values(), ids=TRACKS)
def test_chosen_settings_are_not_compared_with_those_as_given(given, said):
    found = with_choices(indexed(**given).summary, "scrub", "lfssd")
    assert answer(tables.IndexedSummary(found), "full_class") == said


def test_a_distance_stands_beside_its_noise_floor():
    floor = Floor(n=4, mean=0.13, low=0.1, high=0.2, source="seeds")
    found = indexed(**SAID["a distance"][0])
    rows = [row.model_copy(update={"floor": floor}) for row in found.summary.rows]
    found = tables.IndexedSummary(found.summary.model_copy(update={"rows": rows}))
    assert answer(found, "full_class").endswith("0.250 nats, 0.13 between Retrained models.")


def test_the_terminal_says_the_same_sentence_first():
    found = indexed(ssd=NEAR, salun=0.5)
    (table,) = terminal_tables(found.summary)
    assert table.answer == answer(found, "full_class")
