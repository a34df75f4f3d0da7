"""Promises of the repository: what may import what, and that known errors have a test.

Left out: that generated files say what the code says, which `make test` compares beside the tests.
"""

import subprocess
import sys

from supreme_core.importing.known_errors import KNOWN_ERRORS
from tools.generate.evidence import defect_tests

WITHOUT_TORCH = (
    "supreme_core",
    "tools.generate.crd",
    "supreme_core.plan",
    "supreme_core.publishing.publish",
    "supreme_core.store.results",
    "supreme_core.store.inventory",
    "supreme_core.publishing.recompute",
    "supreme_core.registry.catalog",
    "supreme_core.report.page",
    "supreme_trainer.command.run",
)


def test_what_the_operator_shares_does_not_load_torch():
    """One process imports them all, and says which was the first that loaded it."""
    code = (
        f"import importlib, sys\nfor name in {WITHOUT_TORCH}:\n"
        "    importlib.import_module(name)\n    assert 'torch' not in sys.modules, name"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_reading_predictions_and_computing_metrics_does_not_load_torch():
    code = (
        "import sys; from supreme_core import registry;"
        "from supreme_core.scoring import predictions;"
        "from supreme_core.analysis import noise_floor;"
        "assert len(registry.metric.entries()) > 10; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_model_of_ours_is_built_without_loading_a_library_of_models():
    code = (
        "import sys; from supreme_trainer.process import trainer;"
        "from supreme_trainer.seed import run;"
        "from supreme_core import registry; from supreme_core.api.v1alpha1 import Component;"
        "from supreme_core.engine.networks.architecture import Architecture;"
        "from supreme_core.engine.images.image_shape import ImageShape;"
        "assert len(registry.model.entries()) >= 3;"
        "chosen = registry.model.resolve(Component(name='resnet18'), at='spec.model');"
        "Architecture.of(chosen).build(ImageShape(1, 8, 2));"
        "sys.exit('timm' in sys.modules or 'torchvision' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_known_error_of_the_reference_has_a_test_that_keeps_it_out():
    numbers = [error.number for error in KNOWN_ERRORS]
    assert numbers == list(range(1, 23))
    assert sorted(defect_tests()) == numbers
