"""The same command under the same key happens once, however often and from wherever it is said."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from controller.handle import Answer, By, KeyReused, Submission
from domain.refused import Invalid
from domain.run import StopRun
from domain.task import EnqueueTask, StopTask, TaskCreated, TaskEdited
from eventstore.audit.keys import Keyring
from eventstore.audit.sealer import Sealer
from eventstore.audit.verification import verify
from eventstore.sql import SqlStore
from tests.controller.server import BY, LR, Server, new_id, pipeline, race, together

KEY = By(actor="ana", key="k1", request="r1")


class Given:
    """A draft, a queued task and a running run."""

    def __init__(self, server: Server) -> None:
        self.server, self.controller = server, server.controller
        self.draft, self.queued = server.create(), server.enqueued(queue="gpu")
        self.run = server.submit({"a": [], "b": ["a"]})

    def create(self, by: By) -> Answer:
        return self.controller.create_task(new_id(), TaskCreated(name="new", project="p", content=""), LR, by)


COMMANDS: dict[str, Callable[[Given, By], Answer]] = {
    "create": Given.create,
    "clone": lambda given, by: given.controller.clone_task(new_id(), given.draft, by),
    "edit": lambda given, by: given.controller.task(given.draft, TaskEdited(name="other"), by),
    "enqueue": lambda given, by: given.controller.task(given.draft, EnqueueTask(queue="default"), by),
    "stop": lambda given, by: given.controller.task(given.queued, StopTask(), by),
    "start": lambda given, by: given.controller.start_task(given.draft, "s1", "laptop", 60, by),
    "create a queue": lambda given, by: given.controller.create_queue("night", by),
    "register a pipeline": lambda given, by: given.controller.register_pipeline(pipeline({"x": []}, name="new"), by),
    "submit": lambda given, by: given.controller.submit_run(
        new_id(), Submission(definition=pipeline({"x": [], "y": ["x"]})), by
    ),
    "submit a draft": lambda given, by: given.controller.submit_run(
        new_id(), Submission(definition=pipeline({"x": []}), draft=True), by
    ),
    "stop a run": lambda given, by: given.controller.run(given.run, StopRun(reason="enough"), by),
}


def test_a_repeat_gets_the_first_answer_and_changes_nothing(store):
    server = Server(store)
    for name, command in COMMANDS.items():
        given, key = Given(server), By(actor="ana", key=name, request="r1")
        first = command(given, key)
        assert first.position == store.head(), name
        given.create(BY)  # the world goes on
        head = store.head()
        given.controller = server.restarted().controller
        assert command(given, key) == command(given, key) == first, name
        assert store.head() == head, name


def test_to_the_audit_every_event_of_a_command_is_as_it_was_written(
    sqlite_url: str, opened: Callable[[str], SqlStore], tmp_path: Path
):
    """What follows from a command carries its id as the command's own events do, and says so in its meta."""
    store = opened(sqlite_url)
    server = Server(store)
    for name, command in COMMANDS.items():
        command(Given(server), By(actor="ana", key=name, request="r1"))
    assert [row.type for row in store.command("ana:submit")][-1] == "TaskEnqueued"
    Sealer(store, Keyring(tmp_path / "audit.key")).seal()
    report = verify(store)
    assert (report.findings, report.unsigned) == ([], 0)


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_the_same_key_with_another_body_is_refused_and_changes_nothing(server, command):
    given = Given(server)
    command(given, KEY)
    head = server.head
    with pytest.raises(KeyReused, match="use a new key"):
        command(given, By(actor="ana", key="k1", request="r2"))
    assert server.head == head


def test_two_at_once_have_one_effect_and_get_the_same_answer(store):
    server = Server(store)
    for name, command in COMMANDS.items():
        given, key = Given(server), By(actor="ana", key=name, request="r1")
        head = store.head()
        answers = race(*[lambda given=given, key=key, command=command: command(given, key)] * 4)
        assert isinstance(answers[0], Answer), name
        assert answers == [answers[0]] * 4, name
        assert answers[0].position == store.head(), name
        assert len(store.command(f"ana:{name}")) == store.head() - head, name
    server.check()


def test_a_repeat_in_the_same_batch_sees_what_is_not_committed_yet(server):
    given = Given(server)
    first, second, other = together(
        server.store,
        lambda: given.create(KEY),
        lambda: given.create(KEY),
        lambda: given.create(By(actor="ana", key="k1", request="r2")),
    )
    assert first == second
    assert isinstance(other, KeyReused)


def test_keys_of_two_people_do_not_meet(server):
    ana, bob = [Given(server).create(By(actor=actor, key="k1", request="r1")) for actor in ("ana", "bob")]
    assert ana.id != bob.id


def test_without_a_key_each_is_a_command_of_its_own(server):
    given = Given(server)
    assert given.create(BY).id != given.create(BY).id


def test_a_refused_command_is_decided_anew_under_its_key(server):
    given = Given(server)
    enqueue: Any = lambda: server.do(given.draft, EnqueueTask(queue="night"), KEY)  # noqa: E731
    with pytest.raises(Invalid, match="no queue 'night'"):
        enqueue()
    server.controller.create_queue("night", BY)
    first = enqueue()
    assert server.task(given.draft).status == "queued"
    assert enqueue() == first


def test_a_repeat_of_a_command_meant_for_a_version_is_not_too_late(server):
    draft = Given(server).draft
    first = server.do(draft, TaskEdited(name="other"), KEY, expect=1)
    server.do(draft, TaskEdited(name="third"))
    assert server.do(draft, TaskEdited(name="other"), KEY, expect=1) == first
    assert server.task(draft).name == "third"
