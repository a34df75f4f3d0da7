"""Each fault of the proxy, in front of a real API server."""

import contextlib
import json
import ssl
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPSConnection
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from tests.cluster.fault_proxy import (
    CONTINUE,
    WATCH,
    Expire,
    Hold,
    Lose,
    Refuse,
    Repeat,
    Reset,
    Silence,
    fault_proxy,
    first,
    nth,
    share,
)
from tests.cluster.processes import SECONDS, eventually

MAPS = "/api/v1/namespaces/default/configmaps"


@pytest.fixture
def proxy(cluster):
    with fault_proxy(cluster.admin) as found:
        yield found


class Client:
    """Plain HTTP, which tries nothing a second time. All objects of one client have a label."""

    def __init__(self, access):
        self.access, self.label = access, f"test={uuid4().hex[:8]}"

    def connected(self, timeout=10):
        trust = ssl.create_default_context(cafile=self.access.certificate)
        address = urlsplit(self.access.endpoint)
        connection = HTTPSConnection(address.hostname, address.port, timeout=timeout, context=trust)
        return contextlib.closing(connection)

    def ask(self, method, path=MAPS, body=None, timeout=10):
        """(status, Retry-After, answer)."""
        with self.connected(timeout) as connection:
            self.send(connection, method, path, body)
            answer = connection.getresponse()
            return answer.status, answer.headers["Retry-After"], json.loads(answer.read())

    def send(self, connection, method, path, body=None):
        headers = {"Authorization": f"Bearer {self.access.token}"}
        headers["Content-Type"] = "application/json"
        connection.request(method, path, body and json.dumps(body), headers)

    def create(self, name, timeout=10, **data):
        return self.ask("POST", body=self.body(name, **data), timeout=timeout)[0]

    def body(self, name, **data):
        key, _, value = self.label.partition("=")
        metadata = {"name": f"{value}-{name}", "labels": {key: value}}
        return {"metadata": metadata, "data": data}

    def names(self):
        _, _, found = self.ask("GET", f"{MAPS}?labelSelector={self.label}")
        return [one["metadata"]["name"].partition("-")[2] for one in found["items"]]

    @contextlib.contextmanager
    def watch(self, seconds=60, timeout=10):
        """Events as (type, name), by a generator that ends where the server ends the answer."""
        path = f"{MAPS}?watch=1&timeoutSeconds={seconds}&labelSelector={self.label}"
        with self.connected(timeout) as connection:
            self.send(connection, "GET", path)
            yield self.events(connection.getresponse())

    def events(self, answer):
        while line := answer.readline():
            event = json.loads(line)
            name = event["object"]["metadata"].get("name", "")
            yield event["type"], name.partition("-")[2] or event["object"].get("code")


@pytest.fixture
def direct(cluster):
    """A client that goes around the proxy."""
    return Client(cluster.admin)


@pytest.fixture
def client(cluster, proxy, direct):
    found = Client(proxy.through(cluster.admin))
    found.label = direct.label
    return found


class TestWithoutAFault:
    def test_requests_are_carried_out_and_noted(self, proxy, client, direct):
        assert client.create("some", text="ä" * 100_000) == 201
        assert direct.names() == client.names() == ["some"]
        assert client.create("some") == 409
        noted = [(request.method, request.path, request.status) for request in proxy.requests()]
        assert noted == [("POST", MAPS, 201), ("GET", MAPS, 200), ("POST", MAPS, 409)]
        assert len(proxy.requests(method="POST|PUT", path="/configmaps$")) == 2

    def test_rights_are_those_of_the_user(self, cluster, proxy):
        account = Client(proxy.through(cluster.restricted_to([])))
        assert account.ask("GET")[0] == 403

    def test_events_of_any_length_come_at_once(self, client, direct):
        with client.watch() as events:
            for name, text in (("small", ""), ("large", "ä" * 200_000)):
                direct.create(name, text=text)
                assert next(events) == ("ADDED", name)

    def test_programs_speak_through_it(self, cluster, proxy):
        access = proxy.through(cluster.admin)
        assert "NAME" in cluster.kubectl("get", "namespaces", access=access)
        assert proxy.requests(path="/namespaces$")[0].status == 200


class TestRequests:
    @pytest.mark.parametrize(
        ("effect", "reason"),
        [
            (Refuse(409), "Conflict"),
            (Refuse(429, retry_after=7), "TooManyRequests"),
            (Refuse(500), "InternalError"),
            (Refuse(503), "ServiceUnavailable"),
        ],
        ids=lambda value: str(getattr(value, "status", "")),
    )
    def test_a_refused_request_is_not_carried_out(self, proxy, client, direct, effect, reason):
        with proxy.fault(effect, method="POST") as fault:
            status, after, answer = client.ask("POST", body={"metadata": {"name": "refused"}})
            assert client.names() == []
        assert (status, answer["code"], answer["reason"]) == (effect.status, status, reason)
        assert after == (effect.retry_after and str(effect.retry_after))
        assert (fault.met, fault.struck) == (1, 1)
        assert proxy.requests(method="POST")[0].status == status

    def test_only_the_first_the_nth_or_a_share_is_struck(self, proxy, client):
        def struck(which):
            with proxy.fault(Refuse(500), path="/configmaps$", which=which):
                return [client.ask("GET")[0] == 500 for _ in range(20)]

        assert struck(first(2)) == [True] * 2 + [False] * 18
        assert struck(nth(1, 3)) == [False, True, False, True] + [False] * 16
        some = struck(share(0.5, seed=1))
        assert 5 <= sum(some) <= 15
        assert struck(share(0.5, seed=1)) == some
        assert struck(share(0.5, seed=2)) != some
        assert struck(share(0, seed=1)) == [False] * 20

    def test_other_requests_are_not_struck(self, proxy, client):
        with (
            proxy.fault(Refuse(500), method="PUT|GE"),
            proxy.fault(Refuse(500), path="/secrets"),
            proxy.fault(Refuse(500), method=WATCH),
        ):
            assert client.ask("GET")[0] == 200

    def test_of_two_faults_that_strike_the_older_one_is_felt(self, proxy, client):
        with proxy.fault(Refuse(500), which=nth(1)) as older, proxy.fault(Refuse(503)) as younger:
            assert [client.ask("GET")[0] for _ in range(3)] == [503, 500, 503]
        assert (older.struck, younger.struck) == (1, 2)

    def test_a_request_that_is_held_is_carried_out_in_the_end_though_nobody_waits(
        self, proxy, client, direct
    ):
        with ThreadPoolExecutor(1) as pool:
            with proxy.fault(Hold()) as fault:
                with client.connected() as connection:
                    client.send(connection, "POST", MAPS, client.body("gone"))
                    eventually(lambda: fault.struck == 1)
                waiting = pool.submit(client.create, "waiting", timeout=SECONDS)
                eventually(lambda: fault.struck == 2)
                assert direct.names() == []
            assert waiting.result() == 201
        eventually(lambda: direct.names() == ["gone", "waiting"])

    def test_who_waits_for_a_request_that_is_held_is_told_that_it_goes_on(
        self, proxy, client, monkeypatch
    ):
        """Or clients such as those of S3 would give it up, and with it an attempt at a seed."""
        monkeypatch.setattr("tests.cluster.fault_proxy.PATIENCE", 0.01)
        with client.connected() as connection:
            with proxy.fault(Hold()):
                client.send(connection, "POST", MAPS, client.body("some"))
                told = b"".join(connection.sock.recv(1) for _ in CONTINUE)
            answer = connection.getresponse()
            assert (told, answer.status) == (CONTINUE, 201)

    def test_a_reset_comes_before_the_request_is_carried_out_or_after_it(
        self, proxy, client, direct
    ):
        for name, carried_out in (("before", False), ("after", True)):
            with proxy.fault(Reset(carried_out)), pytest.raises(ConnectionResetError):
                client.create(name)
        assert direct.names() == ["after"]
        assert [request.status for request in proxy.requests()] == [None, None]


class TestWatches:
    def test_a_share_of_the_events_is_lost(self, proxy, client, direct):
        with proxy.fault(Lose(), which=nth(0, 2)) as fault, client.watch() as events:
            for name in "abcd":
                direct.create(name)
            assert [next(events) for _ in "bd"] == [("ADDED", "b"), ("ADDED", "d")]
        assert fault.struck == 2

    def test_a_share_of_the_events_comes_twice(self, proxy, client, direct):
        with proxy.fault(Repeat(), which=nth(1)), client.watch() as events:
            for name in "abc":
                direct.create(name)
            assert [next(events)[1] for _ in "abbc"] == ["a", "b", "b", "c"]

    def test_a_watch_that_is_open_expires_at_its_next_event(self, proxy, client, direct):
        with client.watch() as events:
            direct.create("a")
            assert next(events) == ("ADDED", "a")
            with proxy.fault(Expire(), path="/configmaps"):
                direct.create("b")
                assert list(events) == [("ERROR", 410)]

    def test_a_new_watch_is_refused_as_gone(self, proxy, client):
        with proxy.fault(Refuse(410), method=WATCH):
            assert client.ask("GET", f"{MAPS}?watch=true&resourceVersion=1")[0] == 410
            assert client.ask("GET")[0] == 200
        assert [request.status for request in proxy.requests(method=WATCH)] == [410]

    def test_a_silent_watch_neither_speaks_nor_ends(self, proxy, client, direct):
        with client.watch(seconds=3, timeout=5) as events:
            with proxy.fault(Silence()) as fault:
                direct.create("a")
                eventually(lambda: fault.struck)
            direct.create("b")
            with client.watch() as others:
                assert [next(others)[1] for _ in "ab"] == ["a", "b"]
            with pytest.raises(TimeoutError):
                next(events)

    def test_what_is_open_is_cut(self, proxy, client, direct):
        with client.watch() as events:
            direct.create("a")
            assert next(events) == ("ADDED", "a")
            proxy.cut()
            assert list(events) == []
        assert client.names() == ["a"]

    def test_a_watch_ends_where_the_server_is_away(self, cluster, client):
        with client.watch() as events:
            client.create("a")
            assert next(events) == ("ADDED", "a")
            with cluster.outage():
                assert list(events) == []
                with pytest.raises(ConnectionResetError):
                    client.names()
        assert client.names() == ["a"]
