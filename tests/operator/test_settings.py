"""Settings from flags and environment, and what is said of a wrong one."""

import pytest
import yaml
from supreme_operator.settings import Settings

from supreme_core.errors import SpecError
from tests.measured import ROOT


def read(*arguments, **environment):
    return Settings.read(arguments, environment)


def test_flags_win_over_the_environment_and_that_over_defaults():
    environment = {"SUPREME_OPERATOR_PORT": "1", "SUPREME_OPERATOR_WORKERS": "2"}
    settings = read("--port", "3", **environment)
    assert (settings.port, settings.workers, settings.resync_interval) == (3, 2, 300.0)


def test_the_least_rights_are_those_to_its_own_lease():
    """A name cannot limit who may create; the chart makes the Lease itself."""
    role = yaml.safe_load((ROOT / "operator/rbac.yaml").read_text())
    of_leases = [rule for rule in role["rules"] if "leases" in rule["resources"]]
    unnamed = {verb for rule in of_leases if "resourceNames" not in rule for verb in rule["verbs"]}
    named = {name for rule in of_leases for name in rule.get("resourceNames", [])}
    assert (unnamed, named) == ({"create"}, {read().lease_name})


def test_lists_and_switches():
    settings = read("--namespaces", "a, b", "--leader-election", "true", "--read-secrets=false")
    assert settings.namespaces == ("a", "b")
    assert settings.leader_election
    assert not settings.read_secrets


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (["--port", "x"], {}, "--port is 'x', which is no number"),
        (["--workers=-1"], {}, "--workers is -1; it may not be negative or infinite"),
        (["--retry-wait", "nan"], {}, "--retry-wait is nan; it may not be negative or infinite"),
        (["--log-format", "xml"], {}, "--log-format is 'xml'; use json or text"),
        ([], {"SUPREME_OPERATOR_LEADER_ELECTION": "yes"}, "is 'yes'; use true or false"),
        ([], {"SUPREME_OPERATOR_PROT": "1"}, "did you mean 'SUPREME_OPERATOR_PORT'"),
    ],
)
def test_a_wrong_setting_is_named(arguments, environment, message):
    with pytest.raises(SpecError, match=message.replace(".", r"\.")):
        read(*arguments, **environment)
