"""Hold docs/extending.md to its word: its files are plug-ins, and its experiment uses each of them.

The same files as an installed package: trainer/test_plugins.py. What else its method does:
core/registry/test_plugins.py.
"""

import hashlib
import json

from tests import extending
from tests.trainer.experiments import supreme, written

WITH_A_FILE = {
    *("method", "metric", "dataset", "model", "scenario", "wrapper", "probe"),
    *("optimizer", "schedule", "augmentation"),
}


def test_the_experiment_of_the_page_is_computed_by_the_files_of_the_page(tmp_path):
    """Seconds, for real processes: the command as the page gives it, with each file as it is."""
    sources = extending.sources()
    digests = {
        (kind, name): hashlib.sha256(source.encode()).hexdigest()
        for source in sources.values()
        for kind, name in extending.components(source)
    }
    assert {kind for kind, _ in digests} == WITH_A_FILE
    file = written(tmp_path / "experiment.yaml", extending.experiment())
    images = extending.archive(tmp_path / "images.npz")
    plugins = [
        word
        for name, source in sources.items()
        for word in ("--plugin", written(tmp_path / name, source))
    ]

    done = supreme(
        *("run", file, "--store", tmp_path / "store", "--device", "cpu"),
        *("--set", f"spec.dataset.params.path={images}", *plugins),
    )

    assert (done.code, done.err) == (0, "")
    [order], [result] = (
        [json.loads(path.read_text()) for path in (tmp_path / "store").rglob(name)]
        for name in ("order.json", "result.json")
    )
    used = {(each["kind"], each["name"]): each["plugin"] for each in order["work"]["revisions"]}
    assert used == digests
    [unlearned] = [run for run in result["runs"] if run["method"] == "smoothed_ascent"]
    assert unlearned["metrics"].keys() == {
        *("retain_worst_class", "retain_test_worst_class"),
        *("forget_noisy_accuracy", "test_noisy_accuracy"),
    }
    assert all(0 <= value <= 1 for value in unlearned["metrics"].values())
