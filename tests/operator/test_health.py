"""The HTTP port, over HTTP: what makes the operator not live, and what only not ready."""

import asyncio

import aiohttp
import pytest
from supreme_operator.monitoring.counters import Metrics
from supreme_operator.monitoring.health import Health, serving

from tests.cluster.processes import IPV6


def answers(*, host="127.0.0.1", asked="127.0.0.1", **facts):
    """Status and text of each path.  host: that is bound.  asked: where they are asked for."""
    well = {
        "oldest_work_seconds": lambda: 0.0,
        "silent": list,
        "is_synced": lambda: True,
        "failures_in_a_row": lambda: 0,
    }

    async def ask():
        health, metrics = Health(**{**well, **facts}), Metrics()
        found = {}
        async with (
            serving(health, metrics.registry, host=host, port=0) as port,
            aiohttp.ClientSession(f"http://{asked}:{port}") as session,
        ):
            for path in ("livez", "readyz", "metrics"):
                async with session.get(f"/{path}") as answer:
                    found[path] = answer.status, await answer.text()
        return found

    return asyncio.run(ask())


def test_all_is_well():
    found = answers()
    assert found["livez"] == found["readyz"] == (200, "ok\n")
    assert found["metrics"][0] == 200
    assert "\nsupreme_leader 0.0\n" in found["metrics"][1]


@pytest.mark.parametrize("asked", ["127.0.0.1", pytest.param("[::1]", marks=IPV6)])
def test_it_is_reached_by_ipv4_and_by_ipv6(asked):
    assert answers(host="", asked=asked)["livez"] == (200, "ok\n")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", pytest.param("::1", marks=IPV6)])
def test_it_keeps_to_the_address_that_is_set(host):
    asked = f"[{host}]" if ":" in host else host
    assert answers(host=host, asked=asked)["livez"] == (200, "ok\n")


@pytest.mark.parametrize(
    ("facts", "live", "line"),
    [
        ({"silent": lambda: ["jobs"]}, 503, "the watch of jobs is silent"),
        ({"oldest_work_seconds": lambda: 601.0}, 503, "one key has been worked on for 601 s"),
        ({"is_synced": lambda: False}, 200, "not everything has been listed yet"),
        ({"failures_in_a_row": lambda: 3}, 200, "the API server does not answer"),
    ],
    ids=["a silent watch", "a stuck key", "still listing", "no API server"],
)
def test_what_is_wrong_is_said(facts, live, line):
    found = answers(**facts)
    assert found["livez"][0] == live
    assert found["readyz"] == (503, line + "\n")
