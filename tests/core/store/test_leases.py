"""Leases: one holder at a time, takeover of what is stale, and holders that come back.

Covered, in a folder and in a bucket of a real S3 server: take, refuse, release, renewal, takeover
by time and by a process that has ended, a holder that was stopped and comes back, content that
nobody wrote, and any order of all of it (a state machine against a plain model).

Left out: two writers in one bucket without conditional writes, which both may get a lease.
"""

import json
import multiprocessing
import os
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from supreme_core.api.names import lease_key
from supreme_core.errors import StoreUnavailable
from supreme_core.store.leases import (
    STALE_SECONDS_IN_FOLDERS,
    Holder,
    Leases,
    StageLease,
    _place,
)
from supreme_core.store.opening import open_storage

STAGE, KEY = "originals", "ab" * 32
STALE = 30.0


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now

    def later(self, seconds):
        self.now += seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def workers(store, clock):
    """Two processes, as the store sees them; neither can look the other one up."""
    return [worker(store, clock, name) for name in ("a", "b")]


def worker(store, clock, name):
    clocks = {"clock": clock, "age_clock": clock}
    found = Leases(store, f"experiments/{name}", stale_seconds=STALE, **clocks)
    found._holder = Holder(name, f"experiments/{name}", "")
    found._thread = object()  # tests beat by hand
    return found


def files(store):
    return [info.key.rpartition("/")[2] for info in store.list("objects")]


def test_the_first_gets_the_lease_and_the_second_learns_who_has_it(workers):
    first, second = workers

    assert isinstance(first.take(STAGE, KEY), StageLease)
    assert second.take(STAGE, KEY).holder.attempt == "experiments/a"
    assert isinstance(second.take(STAGE, "cd" * 32), StageLease)


def test_what_is_released_is_free_at_once_and_leaves_nothing(workers, store):
    first, second = workers
    first.take(STAGE, KEY).release()

    assert files(store) == []
    second.take(STAGE, KEY).release()
    assert files(store) == []


def test_a_lease_that_is_renewed_stays(workers, clock):
    first, second = workers
    lease = first.take(STAGE, KEY)
    for _ in range(10):
        assert not isinstance(second.take(STAGE, KEY), StageLease)
        clock.later(STALE - 1)
        lease.renew()

    assert not isinstance(second.take(STAGE, KEY), StageLease)
    assert lease.is_held


def test_a_lease_that_nobody_renews_is_taken_over_after_its_time_and_not_before(workers, clock):
    first, second = workers
    lease = first.take(STAGE, KEY)
    second.take(STAGE, KEY)
    clock.later(STALE - 0.1)
    assert not isinstance(second.take(STAGE, KEY), StageLease)
    clock.later(0.1)
    taken = second.take(STAGE, KEY)

    assert taken.epoch == 2
    assert taken.is_held
    assert not lease.is_held


def test_the_time_counts_from_when_the_waiting_process_saw_it_first(workers, clock):
    """However old the lease is: no clock of another machine counts."""
    first, second = workers
    first.take(STAGE, KEY)
    clock.later(10 * STALE)

    assert not isinstance(second.take(STAGE, KEY), StageLease)


def test_a_store_that_was_slow_gives_the_holder_time_again(workers, clock, monkeypatch):
    """The holder could not renew it either, and would drop what it has computed."""
    first, second = workers
    first.take(STAGE, KEY)
    second.take(STAGE, KEY)
    read = second.read

    def slow(*where):
        clock.later(STALE)
        return read(*where)

    with monkeypatch.context() as patched:
        patched.setattr(second, "read", slow)
        assert not isinstance(second.take(STAGE, KEY), StageLease)
    clock.later(STALE - 1)
    assert not isinstance(second.take(STAGE, KEY), StageLease)
    clock.later(1)
    assert isinstance(second.take(STAGE, KEY), StageLease)


def test_a_holder_that_comes_back_does_no_harm(workers, clock, store):
    """A late holder neither writes its lease again nor removes that of the other one."""
    first, second = workers
    lease = first.take(STAGE, KEY)
    second.take(STAGE, KEY)
    clock.later(STALE)
    taken = second.take(STAGE, KEY)

    lease.renew()
    lease.release()
    assert taken.is_held
    clock.later(STALE)
    assert taken.is_held
    taken.release()
    assert files(store) == []


def test_a_holder_that_comes_back_when_all_is_over_does_not_hold_it(workers, clock, store):
    first, second = workers
    lease = first.take(STAGE, KEY)
    second.take(STAGE, KEY)
    clock.later(STALE)
    second.take(STAGE, KEY).release()

    assert not lease.is_held
    lease.renew()
    assert files(store) == []


def test_content_of_a_lease_never_comes_again(workers, clock):
    """A process that looks rarely must not take what is held anew for what it saw long ago."""
    first, second = workers
    lease = first.take(STAGE, KEY)
    second.take(STAGE, KEY)
    lease.release()
    clock.later(STALE)
    lease = first.take(STAGE, KEY)

    assert not isinstance(second.take(STAGE, KEY), StageLease)
    assert lease.is_held


@pytest.mark.parametrize("is_over", [True, False], ids=["when all is over", "before"])
def test_a_holder_that_comes_back_to_release_takes_nothing_from_others(
    workers, clock, store, is_over
):
    """The stage has failed, so its holder looks at nothing before it releases."""
    first, second = workers
    lease = first.take(STAGE, KEY)
    second.take(STAGE, KEY)
    clock.later(STALE)
    taken = second.take(STAGE, KEY)
    if is_over:
        taken.release()
        taken = second.take(STAGE, KEY)

    lease.release()
    assert taken.renew()
    assert not isinstance(worker(store, clock, "c").take(STAGE, KEY), StageLease)


def test_a_number_that_is_missing_below_a_lease_gives_nobody_a_second_one(workers, clock, store):
    """The number of a holder that was killed, for example, which `prune` has removed."""
    first, second = workers
    first.take(STAGE, KEY)
    second.take(STAGE, KEY)
    clock.later(STALE)
    taken = second.take(STAGE, KEY)
    store.delete(lease_key(STAGE, KEY, 1))

    third = worker(store, clock, "c")
    assert third.take(STAGE, KEY).holder.token == "b"
    assert third.take(STAGE, KEY).epoch == 2
    taken.release()
    assert files(store) == []
    assert isinstance(third.take(STAGE, KEY), StageLease)


def named(process):
    """A lease whose holder has a process of this name on this machine."""
    return json.dumps({"token": "t", "attempt": "a", "process": f"{_place()} {process}"}).encode()


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{", b"[]", b"{}", b'{"token": 1}', b"x" * 5000, b"[" * 4000),
        *(named(process) for process in ("", "x:1", "-1:1", ":", "9" * 30 + ":1")),
    ],
)
def test_content_that_nobody_wrote_is_respected_until_it_is_stale(workers, clock, store, content):
    store.write(lease_key(STAGE, KEY, 1), content)
    first, _ = workers

    assert not isinstance(first.take(STAGE, KEY), StageLease)
    clock.later(STALE)
    first.take(STAGE, KEY).release()
    assert files(store) == []


@pytest.mark.parametrize("is_link", [True, False], ids=["link to nowhere", "folder"])
def test_what_can_be_neither_written_nor_read_is_named(tmp_path, is_link):
    """A mount that went, or a folder that somebody made, and not a lease that is waited for."""
    path = tmp_path / lease_key(STAGE, KEY, 1)
    path.parent.mkdir(parents=True)
    path.symlink_to("nowhere") if is_link else path.mkdir()

    with pytest.raises(StoreUnavailable, match="lease-0001 is no object that can be read"):
        Leases(open_storage(str(tmp_path)), "a").take(STAGE, KEY)


def test_a_holder_whose_machine_slept_looks_before_it_goes_on(store, clock):
    """The other clock stood still, and another machine has taken the stage over meanwhile."""
    asleep, other = worker(store, clock, "a"), worker(store, clock, "b")
    asleep.clock = lambda: 0.0
    lease = asleep.take(STAGE, KEY)
    other.take(STAGE, KEY)
    clock.later(STALE)

    assert isinstance(other.take(STAGE, KEY), StageLease)
    assert not lease.is_held


def test_a_lease_of_which_the_answer_was_lost_is_the_writers_own(workers, store):
    first, second = workers
    store.write(lease_key(STAGE, KEY, 1), first._content())

    assert not isinstance(second.take(STAGE, KEY), StageLease)
    assert isinstance(first.take(STAGE, KEY), StageLease)


def test_who_is_stopped_while_releasing_leaves_a_lease_that_can_be_had(workers, clock, store):
    """The highest number goes first, so what is left is one that is stale."""
    first, second = workers
    first.take(STAGE, KEY)
    second.take(STAGE, KEY)
    clock.later(STALE)
    second.take(STAGE, KEY)
    store.delete(lease_key(STAGE, KEY, 2))

    third = worker(store, clock, "c")
    assert not isinstance(third.take(STAGE, KEY), StageLease)
    clock.later(STALE)
    assert third.take(STAGE, KEY).is_held


def _hold(uri, pipe):
    Leases(open_storage(uri), "experiments/gone").take(STAGE, KEY)
    pipe.send(os.getpid())
    pipe.recv()
    os._exit(0)


def test_the_lease_of_a_process_of_this_machine_goes_with_it(tmp_path):
    """Without the wait: the system says that the process has ended, also before it is collected."""
    store = open_storage(str(tmp_path))
    mine, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=_hold, args=(store.uri, theirs))
    process.start()
    mine.recv()
    leases = Leases(store, "experiments/next")
    assert not isinstance(leases.take(STAGE, KEY), StageLease)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)

    assert leases.take(STAGE, KEY).epoch == 2
    process.join()


def test_a_process_elsewhere_with_the_same_number_counts_as_alive(store, clock):
    name = json.loads(Leases(store, "here")._content())["process"]
    place, _, number = name.rpartition(" ")

    assert not Holder("t", "a", name).has_ended
    assert not Holder("t", "a", f"{place}0 {number}").has_ended
    assert not Holder("t", "a", "").has_ended
    assert Holder("t", "a", f"{place} {os.getpid()}:1").has_ended


def test_a_process_that_the_system_hides_counts_as_alive(store, monkeypatch):
    """Processes of other users are not in /proc where it is mounted with hidepid."""
    place, _, _ = json.loads(Leases(store, "here")._content())["process"].rpartition(" ")

    def refuse(pid, number):
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    assert not Holder("t", "a", f"{place} 999999999:1").has_ended


def test_a_folder_gives_a_network_mount_time_to_show_what_is_new(tmp_path):
    assert Leases(open_storage(str(tmp_path)), "a").stale_seconds == STALE_SECONDS_IN_FOLDERS


class AnyOrder(RuleBasedStateMachine):
    """Three processes that take, renew, release and are stopped for as long as it likes.

    stopped: those that do nothing at all, as after SIGSTOP.
    """

    def __init__(self):
        super().__init__()
        self.clock = Clock()
        self.leases = {}

    @initialize()
    def start(self):
        self.folder = TemporaryDirectory()
        self.store = open_storage(self.folder.name)
        self.workers = {name: worker(self.store, self.clock, name) for name in "abc"}
        self.beaten = {}

    @rule(name=st.sampled_from("abc"))
    def take(self, name):
        if name in self.leases:
            return
        got = self.workers[name].take(STAGE, KEY)
        if isinstance(got, StageLease):
            for other, lease in self.leases.items():
                stale = self.clock.now - self.beaten[other] >= STALE
                assert stale, f"{name} took what {other} holds"
                assert not lease.renew()
            self.leases[name], self.beaten[name] = got, self.clock.now

    @rule(name=st.sampled_from("abc"))
    def renew(self, name):
        if name in self.leases:
            if self.leases[name].renew():
                self.beaten[name] = self.clock.now
            else:
                self.leases.pop(name).release()

    @rule(name=st.sampled_from("abc"))
    def release(self, name):
        if lease := self.leases.pop(name, None):
            lease.release()

    @rule(seconds=st.sampled_from([1.0, STALE / 4, STALE, 3 * STALE]))
    def wait(self, seconds):
        self.clock.later(seconds)

    @invariant()
    def one_holder(self):
        """Nobody is asked here, which would renew it."""
        surely = [name for name in self.leases if self.clock.now - self.beaten[name] < STALE / 2]
        assert len(surely) <= 1

    def teardown(self):
        """Wait for the lease: somebody who does gets it, after all that has happened."""
        worker_d = worker(self.store, self.clock, "d")
        for _ in range(2):
            got = worker_d.take(STAGE, KEY)
            self.clock.later(STALE)
        assert isinstance(got, StageLease)
        self.folder.cleanup()


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
