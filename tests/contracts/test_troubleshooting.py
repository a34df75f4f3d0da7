"""docs/troubleshooting.md leaves out no reason and no exit code that the code has.

Reasons are found as words of the operator's sources. A new word is either in the page, or listed
here as none that a user meets as a reason.
"""

import ast
import re
from pathlib import Path
from typing import get_args

import pytest
from supreme_operator.deciding import endings

from supreme_core import errors
from supreme_core.api.status import Phase

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/troubleshooting.md").read_text()
OPERATOR = ROOT / "operator/supreme_operator"
SOURCES = sorted({*OPERATOR.rglob("*.py")} - {*OPERATOR.glob("children/*.py")})
"""Sources without children, which has Kubernetes' words for pods and says no reason."""
WORD = re.compile(r"(?:[A-Z]+[a-z]+){2,}|OOMKilled|RBACDenied|Error|Evicted|Preempted|Terminated")
TABLE = re.compile(r"^\| `?([^|`]+)`? \|", re.M)

CONDITIONS = {"ChildrenScheduled", "ResultsAggregated"}
KINDS = {"IndexedJob", "PyTorchJob"}
OF_KUBERNETES = {
    *("AlreadyExists", "BackoffLimitExceeded", "BearerToken"),
    *("ContainerCreating", "PodInitializing", "ImageInspectError", "RegistryUnavailable"),
    *("ErrImageNeverPull", "ErrImagePull", "ImagePullBackOff", "InvalidImageName"),
    *("FailedAttachVolume", "FailedMapVolume", "FailedMount", "VolumeResizeFailed"),
    *("FailedScheduling", "NodeNotReady", "GetObject", "ContainerStatusUnknown"),
}
"""Words of Kubernetes that the operator reads; a user meets a reason of the page instead."""

OF_METRICS = {"SecretUnreadable", "StoreUnavailable", "StoreUnusable", "WorkerFailed"}
"""Labels of metrics; the condition says ResultsUnavailable."""

NONE = {*CONDITIONS, *KINDS, *OF_KUBERNETES, *OF_METRICS, *get_args(Phase)} - {"Suspended"}


def words():
    for path in SOURCES:
        nodes = ast.walk(ast.parse(path.read_text()))
        texts = (node.value for node in nodes if isinstance(node, ast.Constant))
        yield from (text for text in texts if isinstance(text, str) and WORD.fullmatch(text))


REASONS = sorted({*words()} - NONE)
EXIT_CODES = sorted(
    {value for name, value in vars(errors).items() if name.startswith("EXIT_")}
    | {*endings.STOPPED, *endings.PERMANENT}
)


def test_the_reasons_are_found():
    assert {"InvalidSpec", "OOMKilled", "WebhookUnavailable", "FailureBudgetExceeded"} < {*REASONS}
    assert len(REASONS) > 40


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_is_in_the_page(reason):
    assert f"`{reason}`" in PAGE, (
        f"the operator says {reason!r}, and docs/troubleshooting.md has no symptom, cause and"
        " command for it; where it is no reason, list it in this test"
    )


@pytest.mark.parametrize("word", sorted(NONE - {*get_args(Phase)}))
def test_what_is_listed_as_no_reason_is_still_a_word_of_the_operator(word):
    assert word in {*words()}


def test_every_exit_code_is_in_the_page():
    table = PAGE.partition("## Exit codes")[2]
    told = set[int]()
    for cell in TABLE.findall(table):
        for first, last in re.findall(r"(\d+)(?: to (\d+))?", cell.replace("128 + n", "128")):
            told |= {*range(int(first), int(last or first) + 1)}
    assert {*EXIT_CODES} - told == set()


def test_every_row_has_what_is_seen_why_and_what_to_do():
    rows = [line for line in PAGE.splitlines() if line.startswith("| `")]
    assert len(rows) > 40
    for row in rows:
        cells = [each.strip() for each in re.split(r"(?<!\\)\|", row)[1:-1]]
        assert len(cells) in (3, 4), row
        assert all(cells), row
