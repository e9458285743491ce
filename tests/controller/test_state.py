"""The write side's memory: whatever fails, it never knows more, less or other than what is durable."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from controller import state as state_module
from controller.exchange import Superseded
from controller.handle import By, Submission
from controller.ready import Item, Ready
from controller.signals import Signals
from controller.state import Recent
from domain.refused import Refused
from domain.run import StopRun
from domain.task import EnqueueTask, PublishTask, StopTask, TaskEdited
from eventstore.appending import Batch
from eventstore.memory import MemoryAppend
from eventstore.sql import SqlAppend
from eventstore.store import Append, NewEvent, Store, StoreBroken, StoreUnavailable, append
from tests.controller.server import BY, Server, ended, name_of, new_id, pipeline, together

KEY = By(actor="ana", key="k1", request="r1")


class Crash(Exception):
    """A mistake in a job."""


@pytest.fixture(params=["before", "after"], ids=["nothing is durable", "all is durable"])
def next_commit_fails(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Arms the next commit that writes anything: the database goes away before it, or right after it."""
    places = [(Batch, "confirm")] if request.param == "after" else [(MemoryAppend, "commit"), (SqlAppend, "commit")]
    real = [getattr(kind, name) for kind, name in places]

    def put(methods: Sequence[Any]) -> None:
        for (kind, name), method in zip(places, methods, strict=True):
            monkeypatch.setattr(kind, name, method)

    def failing(method: Callable[[Any], None]) -> Callable[[Any], None]:
        def fails(batch: Batch) -> None:
            if not batch.added:
                return method(batch)
            put(real)
            raise StoreUnavailable("the database is away")

        return fails

    return lambda: put([failing(method) for method in real])


# Failed commits


def test_after_a_failed_commit_the_next_command_decides_on_what_is_durable(store, next_commit_fails):
    server = Server(store)
    run_id = server.submit({"a": [], "b": ["a"], "c": ["b"]})
    agent = server.agent()
    claim = agent.claim()
    next_commit_fails()
    with pytest.raises(StoreUnavailable):
        agent.ask_in_vain(ended(claim), free=1)
    # The agent says it again: that is the same report, whatever has become of the first one.
    answer = agent.ask(ended(claim), free=1)
    assert [receipt.accepted for receipt in answer.receipts] == [True]
    assert [name_of(claim) for claim in answer.claims] == ["b"]
    agent.end(answer.claims[0])
    assert agent.work() == ["c"]
    assert server.run(run_id).status == "completed"
    assert [step.attempts for step in server.run(run_id).steps.values()] == [1, 1, 1]
    server.check()


def test_a_command_whose_commit_failed_is_repeated_under_its_key(store, next_commit_fails):
    server = Server(store)
    submission = Submission(definition=pipeline({"a": [], "b": ["a"]}))

    def submit() -> str:
        return server.controller.submit_run(new_id(), submission, KEY).id

    next_commit_fails()
    with pytest.raises(StoreUnavailable):
        submit()
    run_id = submit()
    assert submit() == run_id
    assert len(server.events("RunCreated")) == 1
    assert server.agent().work() == ["a", "b"]
    server.check()


def test_all_commands_of_a_failed_batch_may_be_repeated(store, next_commit_fails):
    server = Server(store)
    tasks = [server.create(f"t{n}") for n in range(4)]
    keys = [By(actor="ana", key=f"k{n}", request="r") for n in range(4)]
    commands: list[Callable[[], Any]] = [
        lambda task=task, key=key: server.do(task, EnqueueTask(queue="gpu"), key)
        for task, key in zip(tasks, keys, strict=True)
    ]
    next_commit_fails()
    assert {type(answer) for answer in together(store, *commands)} == {StoreUnavailable}
    first = [command() for command in commands]
    assert [command() for command in commands] == first
    assert len(server.events("TaskEnqueued")) == 4
    server.check()


# Jobs that go wrong


def crash(append: Append, event: NewEvent) -> None:
    append.add([event])
    raise Crash


@pytest.fixture
def crashing(store: Store) -> Callable[[], None]:
    """A job that adds an event and then raises."""
    event = NewEvent(stream="task-x", type="TaskReset", data="{}")
    return lambda: store.append(lambda open_append: crash(open_append, event)).result()


def test_a_job_that_raises_after_adding_takes_nothing_with_it(store, crashing):
    server = Server(store)
    run_id = server.submit({"a": [], "b": ["a"]})
    with pytest.raises(Crash):
        crashing()
    assert server.agent().work() == ["a", "b"]
    assert server.run(run_id).status == "completed"
    assert store.stream("task-x") == []
    server.check()


def test_its_neighbours_in_the_batch_are_decided_again_as_if_it_had_not_been(store, crashing):
    server = Server(store)
    run_id = server.submit({"a": [], "b": ["a"], "c": ["b"]})
    agent = server.agent()
    claim = agent.claim()
    task_id = server.create()
    answer, crashed, enqueued, stopped = together(
        store,
        lambda: agent.end(claim, free=1),
        crashing,
        lambda: server.do(task_id, EnqueueTask(queue="gpu"), KEY),
        lambda: server.controller.run(run_id, StopRun(), BY),
    )
    assert isinstance(crashed, Crash)
    [next_claim] = answer.claims
    assert (next_claim.task.name, enqueued.version) == ("b", 2)
    assert stopped.version == server.run(run_id).version
    assert server.do(task_id, EnqueueTask(queue="gpu"), KEY) == enqueued
    assert [stop.task_id for stop in agent.beat()] == [next_claim.task.id]
    agent.end(next_claim, "stopped")
    assert server.statuses(run_id) == {"a": "completed", "b": "stopped", "c": "skipped"}
    server.check()


def test_a_command_that_breaks_half_way_leaves_no_trace_in_memory(server, monkeypatch):
    run_id = server.submit({"a": [], "b": ["a"]})
    agent = server.agent()
    claim = agent.claim()
    head = server.head
    with monkeypatch.context() as patch:
        patch.setattr("controller.unit.Unit.finish", lambda _: crash_now())
        with pytest.raises(Crash):
            agent.ask_in_vain(ended(claim), free=1)
    assert server.head == head
    assert server.statuses(run_id) == {"a": "running", "b": "pending"}
    agent.end(claim)
    assert agent.work() == ["b"]
    server.check()


def crash_now() -> None:
    raise Crash


# Reading on


def fails_once(monkeypatch: pytest.MonkeyPatch, place: str, error: Exception) -> None:
    real = getattr(Batch, place)

    def fails(self: Any, *args: Any, **fields: Any) -> Any:
        monkeypatch.setattr(Batch, place, real)
        raise error

    monkeypatch.setattr(Batch, place, fails)


@pytest.mark.parametrize("place", ["streams", "select", "read"])
def test_what_could_not_be_read_is_read_by_the_next_command_even_of_the_same_batch(server, monkeypatch, place):
    """`streams` and `select` are needed by a server that has just started, `read` by one that is behind."""
    here, there = (server, server.restarted()) if place == "read" else (server.restarted(), server)
    run_id = there.submit({"a": [], "b": ["a"]})
    waits = there.enqueued(queue="gpu")
    fails_once(monkeypatch, place, StoreUnavailable("the database is away"))
    failed, stopped, edited = together(
        here.store,
        lambda: here.agent("h:1"),
        lambda: here.do(waits, StopTask()),
        lambda: here.do(there.of_step(run_id, "a").id, TaskEdited(name="other")),
    )
    assert isinstance(failed, StoreUnavailable)
    assert (stopped.version, edited.version) == (3, 3)
    here.check()
    assert here.agent().work() == ["other", "b"]
    here.check()


def test_an_event_that_is_not_known_stops_who_reads_it_and_nobody_else(server):
    """A newer program shares the database. What it did to this task must not be passed over by anybody."""
    blessed, other = server.enqueued(), server.create()
    append(server.store, [NewEvent(stream=f"task-{blessed}", type="TaskBlessed", data="{}")]).result()
    first, *answers, last = together(
        server.store,
        server.controller.catch_up,
        lambda: server.do(blessed, StopTask()),
        lambda: server.do(other, TaskEdited(name="other")),
        lambda: server.do(blessed, StopTask()),
    )
    assert [type(answer) for answer in (first, answers[0], last)] == [StoreBroken] * 3
    assert (answers[1].version, server.task(other).name) == (2, "other")


def test_who_is_far_behind_reads_all_anew(store, monkeypatch):
    here, there = Server(store), Server(store)
    run_id = here.submit({"a": [], "b": ["a"], "c": ["b"]})
    task_id = here.enqueued(queue="gpu")
    monkeypatch.setattr(state_module, "MOST_EVENTS_TO_READ_ON", 3)
    agent = there.agent()
    first = agent.claim()
    there.do(task_id, StopTask())
    second = agent.end(first, free=1).claims[0]
    agent.end(second)
    answer = agent.ask(server=here)
    assert [name_of(claim) for claim in answer.claims] == ["c"]
    here.check()
    there.check()
    assert here.statuses(run_id)["c"] == "running"


def test_what_is_not_in_memory_any_more_is_read_again(server):
    """As after many other tasks and runs."""
    run_id = server.submit({"a": [], "b": ["a"], "c": ["b"]})
    agent = server.agent()
    claims = [agent.claim()]
    while claims:
        state = server.controller.state
        state.tasks, state.runs, state.pipelines, state.contents = Recent(1), Recent(1), Recent(1), Recent(1)
        claims = agent.end(claims[0], free=1).claims
    assert server.run(run_id).status == "completed"
    server.check()


# Two servers on one store take turns


def test_two_servers_see_what_the_other_one_did(store):
    here, there = Server(store), Server(store)
    run_id = here.submit({"a": [], "b": ["a"], "c": ["b"], "d": ["c"]})
    agent = here.agent()
    claim = agent.claim(server=there)
    for server, name in ((here, "b"), (there, "c"), (here, "d")):
        [claim] = agent.ask(ended(claim), server=server).claims
        assert name_of(claim) == name
        here.check()
        there.check()
    agent.end(claim)
    assert there.run(run_id).status == "completed"
    there.controller.create_queue("night", BY)
    here.enqueued(queue="night")
    there.agent("h:0")
    with pytest.raises(Superseded):
        agent.ask()
    here.check()


def test_whoever_reads_on_wakes_those_whom_it_concerns(server):
    here, there = server, server.restarted()
    agent = here.agent()
    there.controller.catch_up()
    woken: list[tuple[set[str], set[str]]] = []
    end = there.controller.signals.listen(lambda queues, sessions: woken.append((set(queues), set(sessions))))

    def seen() -> list[tuple[set[str], set[str]]]:
        assert there.controller.state.behind(there.head)
        there.controller.catch_up()
        assert not there.controller.state.behind(there.head)
        found = woken[:]
        woken.clear()
        return found

    task_id = here.enqueued(queue="default")
    assert seen() == [({"default"}, set())]
    agent.claim()
    assert seen() == []
    here.do(task_id, StopTask())
    assert seen() == [(set(), {agent.session})]
    agent.started_anew()
    assert seen() == [(set(), {agent.session})]
    end()
    here.enqueued()
    there.controller.catch_up()
    assert woken == []


def test_a_server_that_has_just_started_is_behind_and_wakes_all(server):
    agent = server.agent(queues=("gpu",))
    server.enqueued(queue="gpu")
    agent.claim()
    server.enqueued(queue="services")
    fresh = server.restarted()
    woken: list[Any] = []
    fresh.controller.signals.listen(lambda queues, sessions: woken.append((set(queues), set(sessions))))
    assert fresh.controller.state.behind(0)
    fresh.controller.catch_up()
    assert woken == [({"services"}, {agent.session})]


def test_who_commands_here_wakes_those_here_once_it_is_durable(server):
    agent = server.agent()
    woken: list[Any] = []
    server.controller.signals.listen(lambda queues, sessions: woken.append((server.head, set(queues), set(sessions))))
    task_id = server.enqueued(queue="gpu")
    assert woken == [(server.head, {"gpu"}, set())]
    holder = server.agent("h:1", queues=("gpu",))
    holder.claim()
    server.do(task_id, StopTask())
    assert woken[-1] == (server.head, set(), {holder.session})
    heard = len(woken)
    with pytest.raises(Refused):
        server.do(task_id, PublishTask())
    assert len(woken) == heard
    agent.started_anew()
    assert agent.session in woken[-1][2]


# The parts


def test_a_listener_may_end_and_another_go_on():
    signals, heard = Signals(), []
    end = signals.listen(lambda queues, _: heard.append(("first", *queues)))
    signals.listen(lambda queues, _: heard.append(("second", *queues)))
    signals.wake({"q"}, set())
    end()
    end()
    signals.wake({"q"}, set())
    signals.wake(set(), set())
    assert heard == [("first", "q"), ("second", "q"), ("second", "q")]


def test_the_ready_list_is_by_priority_then_by_position():
    ready = Ready()
    for task_id, priority, position in [("a", 0, 3), ("b", 1, 9), ("c", 0, 1), ("d", 1, 4)]:
        ready.put(task_id, Item("q", priority, position))
    order = []
    while (task_id := ready.first("q")) is not None:
        order.append(task_id)
        ready.remove(task_id)
    assert (order, ready.length("q"), ready.length("other"), ready.first("other")) == (["d", "b", "c", "a"], 0, 0, None)


def test_a_task_put_again_stands_where_it_was_put_last():
    ready = Ready()
    ready.put("a", Item("q", 0, 1))
    ready.put("b", Item("q", 0, 2))
    ready.put("a", Item("q", 0, 3))
    assert (ready.first("q"), ready.length("q")) == ("b", 2)
    ready.put("b", Item("other", 0, 4))
    assert (ready.first("q"), ready.length("q"), ready.length("other")) == ("a", 1, 1)
    ready.remove("never")
    ready.put("a", Item("q", 0, 3))
    assert (ready.first("q"), ready.length("q")) == ("a", 1)


def test_recent_keeps_what_was_put_last_once_it_is_trimmed():
    recent = Recent[int](2)
    for number, key in enumerate("abca"):
        recent.put(key, number)
    assert [recent.get(key) for key in "abc"] == [3, 1, 2]
    recent.trim()
    assert [recent.get(key) for key in "abc"] == [3, None, 2]


def test_a_lost_wakeup_is_impossible_for_who_listens_before_looking(server):
    """The order that the long poll relies on: listen, look, sleep."""
    woken = threading.Event()
    server.controller.signals.listen(lambda queues, _: woken.set() if "gpu" in queues else None)
    assert not server.exchange.has_work(["gpu"])
    server.enqueued(queue="gpu")
    assert woken.is_set()
    assert server.exchange.has_work(["gpu"])
