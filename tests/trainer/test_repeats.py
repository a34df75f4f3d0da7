"""Repeats within a seed: of unlearning (J), of evaluation (K), and replicas of Retrained."""

import pytest

from tests.trainer.experiments import (
    FINETUNE,
    RANDOM_LABELS,
    RANDOM_SAMPLES,
    SSD,
    compute,
    computed,
    experiment,
    finish,
    folder_store,
    summary_of,
)

METRICS = [{"name": "accuracy"}, {"name": "js_divergence"}, {"name": "mia_entropy"}]


def repeated(**seeds):
    document = experiment(
        scenarios=[RANDOM_SAMPLES], methods=[FINETUNE, RANDOM_LABELS], metrics=METRICS
    )
    document["spec"]["seeds"] |= seeds
    return document


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    """A store with the experiment without repeats, to which each test adds."""
    found = folder_store(tmp_path_factory.mktemp("store"))
    finish(repeated(), found)
    return found


def test_defect_19_unlearning_again_forgets_the_same_samples_with_other_random_numbers(storage):
    result = compute(repeated(unlearningRepeats=2), storage)

    assert len({cell.forget_digest for cell in result.cells}) == 1
    assert computed(result) == {"unlearned": 2, "metrics": 2}
    first, second = (run.metrics for run in result.runs if run.method == "random_labels")
    assert first != second


def test_the_first_repeat_is_the_run_without_repeats(storage):
    alone, several = compute(repeated(), storage), compute(repeated(unlearningRepeats=2), storage)

    assert [run for run in several.runs if run.repeat == 0] == alone.runs


def test_evaluation_repeats_change_only_metrics_that_draw(storage):
    once, thrice = compute(repeated(), storage), compute(repeated(evaluationRepeats=3), storage)

    differing = {
        row
        for before, after in zip(once.runs, thrice.runs, strict=True)
        for row in before.metrics
        if before.metrics[row] != after.metrics[row]
    }
    assert differing == {"mia_entropy"}


def test_every_unlearning_repeat_is_evaluated_with_random_numbers_of_its_own(storage):
    """The models may have the same bits, as those of a method without random numbers."""
    document = repeated(unlearningRepeats=2)
    document["spec"]["methods"] = [SSD]
    first, second = (run for run in compute(document, storage).runs if run.method == "ssd")

    differing = {row for row in first.metrics if first.metrics[row] != second.metrics[row]}
    assert differing == {"mia_entropy"}


def test_matched_seeds_share_the_trained_models_of_independent_ones_and_nothing_else(storage):
    apart, matched = compute(repeated(), storage), compute(repeated(protocol="matched"), storage)

    assert computed(matched) == {"unlearned": 2, "metrics": 4}
    numbers = [
        {run.method: run.metrics for run in result.runs if run.method in ("original", "finetune")}
        for result in (apart, matched)
    ]
    differing = [
        {row for row in apart_run if apart_run[row] != numbers[1][method][row]}
        for method, apart_run in numbers[0].items()
    ]
    assert differing[0] == {"mia_entropy"}
    assert differing[1] > {"mia_entropy", "forget_js_divergence"}


def test_two_replicas_of_retrained_give_the_noise_floor_where_forget_sets_differ(storage):
    document = repeated(retrainedReplicas=2)
    finish(document, storage)
    rows = {(row.method, row.metric): row for row in summary_of(storage, document).rows}

    floor = rows["finetune", "forget_js_divergence"].floor
    assert (floor.source, floor.n) == ("replicas", 1)
    assert floor.mean > 0
    assert rows["retrained", "forget_js_divergence"].mean == 0


def test_without_a_second_replica_no_floor_is_claimed(storage):
    finish(repeated(), storage)
    assert all(row.floor is None for row in summary_of(storage, repeated()).rows)
