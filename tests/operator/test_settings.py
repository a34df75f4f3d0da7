"""Settings from flags and environment, and what is said of a wrong one."""

import os
from unittest.mock import patch

import pytest
import yaml
from supreme_operator.settings import Settings

from supreme_core.errors import SpecError
from tests.measured import ROOT


def read(*arguments, **environment):
    others = {name: value for name, value in os.environ.items() if "SUPREME" not in name.upper()}
    with patch.dict(os.environ, others | environment, clear=True):
        return Settings.read(arguments)


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
        (["--port", "x"], {}, "--port is 'x'; use a whole number"),
        (["--workers=-1"], {}, "--workers is '-1'; use at least 0"),
        (["--retry-wait", "nan"], {}, "--retry-wait is 'nan'; use a finite number"),
        (["--log-format", "xml"], {}, "--log-format is 'xml'; use json or text"),
        ([], {"SUPREME_OPERATOR_LEADER_ELECTION": "yes"}, "is 'yes'; use true or false"),
        ([], {"SUPREME_OPERATOR_PROT": "1"}, "did you mean 'SUPREME_OPERATOR_PORT'"),
    ],
)
def test_a_wrong_setting_is_named(arguments, environment, message):
    with pytest.raises(SpecError, match=message.replace(".", r"\.")):
        read(*arguments, **environment)


def test_each_mistake_has_its_line():
    with pytest.raises(SpecError) as caught:
        read("--port", "x", SUPREME_OPERATOR_LEASE_TIME="2", SUPREME_OPERATOR_LOG_LEVEL="inf")
    assert str(caught.value).splitlines() == [
        "--port is 'x'; use a whole number",
        "SUPREME_OPERATOR_LEASE_TIME is '2'; use at least 3",
        "SUPREME_OPERATOR_LOG_LEVEL is 'inf'; use debug, info, warning or error; did you mean"
        " 'info'?",
    ]


def test_a_variable_that_is_no_setting_hides_no_other_mistake():
    with pytest.raises(SpecError) as caught:
        read("--workers", "x", SUPREME_OPERATOR_PROT="1")
    assert str(caught.value).splitlines() == [
        "SUPREME_OPERATOR_PROT is no setting; did you mean 'SUPREME_OPERATOR_PORT'?",
        "--workers is 'x'; use a whole number",
    ]


@pytest.mark.parametrize("name", ["SUPREME_OPERATOR_Port", "supreme_operator_port"])
def test_a_variable_in_other_letters_is_not_read_in_silence(name):
    with pytest.raises(SpecError, match=f"^{name} is no setting; did you mean 'SUPREME_OPERATOR_"):
        read(**{name: "1"})


@pytest.mark.parametrize("text", ["", " , "])
def test_an_empty_list_is_not_the_default(text):
    assert read(SUPREME_OPERATOR_ALLOWED_ENV=text).allowed_env == ()


def test_texts_are_taken_as_they_are():
    """No JSON, no numbers, no paths: a store may have braces in its name, and so may a label."""
    stores = "s3://b-*/{namespace}@http://b,[1]"
    settings = read("--allowed-stores", stores, SUPREME_OPERATOR_IMAGE="7")
    assert (settings.allowed_stores, settings.image) == (tuple(stores.split(",")), "7")


@pytest.mark.parametrize("text", ["nan", "inf", "1e400", "-0.5", "", "1s"])
def test_a_time_is_a_number_that_can_be_waited(text):
    with pytest.raises(SpecError, match=f"^--retry-wait is '{text}'; use "):
        read(f"--retry-wait={text}")
