"""docs/evidence.md names tests that are about the component of their row, and the generator says
where there is none."""

from types import SimpleNamespace

import pytest

from supreme_core import registry
from tools.generate.evidence import file_of, is_about

SCRUB = registry.method.get("scrub")

ABOUT = {
    "import": "from supreme_core.components.methods.scrub import ScrubParams",
    "import of the module": "from supreme_core.components.methods import scrub as module",
    "parametrised": "@pytest.mark.parametrize('name', ['cf_k', 'scrub'])\ndef f(name): ...",
    "table": "NAMES = {'scrub': 1}\neach = pytest.mark.parametrize('name', NAMES)",
    "table of tables": "A = ['scrub']\nALL = A + ['iu']\n@parametrize('name', ALL)\ndef f(): ...",
}
NOT_ABOUT = {
    "docstring": '"""What scrub does."""',
    "unused table": "NAMES = ['scrub']\n@pytest.mark.parametrize('name', ['iu'])\ndef f(): ...",
    "another": "from supreme_core.components.methods.iu import iu",
    "beginning of the name": "from supreme_core.components.methods.scrub_more import scrub_more",
    "string": "def test_it():\n    assert registry.method.get('scrub')",
}


@pytest.mark.parametrize("text", ABOUT.values(), ids=ABOUT)
def test_a_file_that_imports_a_component_or_runs_over_its_name_is_about_it(text):
    assert is_about(text, SCRUB)


@pytest.mark.parametrize("text", NOT_ABOUT.values(), ids=NOT_ABOUT)
def test_a_file_that_only_mentions_it_is_not(text):
    assert not is_about(text, SCRUB)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("cf_k", "test_last_layers.py"),
        ("eu_k", "test_last_layers.py"),
        ("finetune", "test_finetune.py"),
        ("scrub", "test_scrub.py"),
    ],
)
def test_a_row_names_the_test_of_its_component(name, file):
    assert file_of(registry.method.get(name)).name == file


def test_without_such_a_test_the_generator_says_what_is_missing():
    nowhere = SimpleNamespace(
        kind="method", name="scurb", module="supreme_core.components.methods.scurb"
    )
    with pytest.raises(
        LookupError, match="tests/core/components/methods: no test here imports method 'scurb'"
    ):
        file_of(nowhere)
