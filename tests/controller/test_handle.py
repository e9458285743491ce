"""Commands on tasks, queues and pipelines: what each records, what it answers, and what a refusal leaves. Nothing."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from controller.handle import By, Submission
from domain.content import Configuration, Content, Edit, Overrides, Parameter, Script
from domain.pipeline import Definition
from domain.refused import Invalid, Refused, Unknown
from domain.task import (
    ArtifactAdded,
    DequeueTask,
    EndTask,
    EnqueueTask,
    LoseTask,
    ModelAdded,
    PublishTask,
    RemoveArtifacts,
    ResetTask,
    StopTask,
    Task,
    TaskCommand,
    TaskCreated,
    TaskEdited,
)
from eventstore.codec import encode
from tests.controller.server import BY, Server, new_id, pipeline, step, together

RATE = Parameter(0.1, "float", "how fast")
LR = Content(hyperparameters={"General": {"lr": RATE}}, script=Script(entry_point="t.py"))


def set_parameter(name: str, value: Any) -> TaskEdited:
    return TaskEdited(edit=Edit(hyperparameters={"General": {name: Parameter(value)}}))


def finished(server: Server, **created: Any) -> str:
    """A task that has run on the first agent."""
    task_id = server.enqueued("train", **created)
    agent = server.agent()
    agent.end(agent.claim())
    return task_id


# Tasks


def test_a_created_task_is_a_draft_that_is_made_of_its_content(server):
    created = TaskCreated(name="train", project="iris", content="", type="testing", on_lost="fail", max_attempts=5)
    answer = server.controller.create_task("7a" * 16, created, LR, BY)
    task = server.task("7a" * 16)
    assert (answer.id, answer.version, answer.position) == (task.id, task.version, server.head)
    assert (task.status, task.name, task.type) == ("created", "train", "testing")
    assert (task.on_lost, task.max_attempts) == ("fail", 5)
    assert encode(server.reader.content_of(task)) == encode(LR)


def test_two_tasks_with_the_same_content_keep_it_once(server):
    assert server.task(server.create(content=LR)).content == server.task(server.create(content=LR)).content
    assert len(server.rows("content")) == 1


def test_a_command_answers_with_the_version_and_position_after_it(server):
    task_id = server.create()
    for number, command in enumerate([set_parameter("lr", 1), EnqueueTask(queue="gpu"), DequeueTask()], start=2):
        answer = server.do(task_id, command)
        assert (answer.id, answer.version, answer.position) == (task_id, number, server.head)
    assert server.task(task_id).status == "created"


def test_a_command_that_holds_already_adds_nothing(server):
    task_id = server.enqueued()
    head = server.head
    assert server.do(task_id, EnqueueTask(queue="default")).version == server.task(task_id).version
    assert server.head == head


def test_an_edited_task_is_made_of_its_content_and_its_edits(server):
    task_id = server.create(content=LR)
    server.do(task_id, set_parameter("epochs", 3))
    server.do(task_id, TaskEdited(edit=Edit(configuration={"model": Configuration("x")}, comment="new"), name="other"))
    task = server.task(task_id)
    content = server.reader.content_of(task)
    assert task.name == "other"
    assert content.hyperparameters["General"] == {"lr": RATE, "epochs": Parameter(3)}
    assert (content.configuration, content.comment) == ({"model": Configuration("x")}, "new")


def test_every_change_of_a_tasks_life_is_on_record(server):
    task_id = finished(server)
    server.do(task_id, PublishTask())
    assert [row.type for row in server.store.stream(f"task-{task_id}")] == [
        "TaskCreated",
        "TaskEnqueued",
        "TaskStarted",
        "TaskCompleted",
        "TaskPublished",
    ]
    assert [row.to_state for row in server.store.stream(f"task-{task_id}")] == [
        "created",
        "queued",
        "in_progress",
        "completed",
        "published",
    ]


def test_an_event_says_who_was_behind_it(server):
    task_id = server.create(by=By(actor="bob", key="k7", request="r7"))
    [row] = server.store.stream(f"task-{task_id}")
    assert row.meta == '{"actor":"bob","command":"bob:k7","request":"r7"}'


def test_what_is_not_there_is_unknown(server):
    for ask in (
        lambda: server.do("f" * 32, EnqueueTask(queue="default")),
        lambda: server.controller.clone_task(new_id(), "f" * 32, BY),
        lambda: server.controller.start_task("f" * 32, "s", "h", 60, BY),
    ):
        with pytest.raises(Unknown, match=f"no task {'f' * 32}"):
            ask()
    assert not server.events("TaskCreated")


@pytest.mark.parametrize("queue", ["gpus", "", "default "])
def test_a_queue_that_does_not_exist_is_refused_and_the_others_are_named(server, queue):
    task_id = server.create()
    with pytest.raises(Invalid, match=r"create it first, or use one of default, gpu, services") as refused:
        server.do(task_id, EnqueueTask(queue=queue))
    assert refused.value.where == "queue"
    assert server.task(task_id).version == 1


def test_a_task_that_an_agent_runs_cannot_be_started_by_another_process(server):
    task_id = server.enqueued()
    server.agent().claim()
    with pytest.raises(Refused, match="in progress"):
        server.controller.start_task(task_id, "s9", "laptop", 60, BY)


def test_a_task_in_a_queue_can_be_started_by_the_callers_own_process_and_leaves_the_queue(server):
    task_id = server.enqueued()
    server.controller.start_task(task_id, "s9", "laptop", 60, BY)
    task = server.task(task_id)
    assert (task.status, task.attempts[-1].session, task.attempts[-1].host) == ("in_progress", "s9", "laptop")
    assert server.rows("work") == []
    assert server.agent().ask().claims == []


# A version that is meant


def test_a_command_meant_for_an_earlier_version_is_refused_and_says_which(server):
    task_id = server.create("train it")
    server.do(task_id, set_parameter("lr", 2), expect=1)
    with pytest.raises(Refused, match="version 1 of task 'train it', which is at 2: look again"):
        server.do(task_id, set_parameter("lr", 3), expect=1)
    assert server.task(task_id).version == 2


def test_of_two_commands_meant_for_the_same_version_one_wins(server):
    task_id = server.create()
    commands = [lambda lr=lr: server.do(task_id, set_parameter("lr", lr), expect=1) for lr in (1, 2, 3)]
    won, *lost = together(server.store, *commands)
    assert won.version == 2
    assert [type(error).__name__ for error in lost] == ["StaleVersion", "StaleVersion"]


# Clones


def test_a_clone_is_a_draft_of_what_the_source_is_made_of_now(server):
    source = finished(server, content=LR)
    server.do(source, ArtifactAdded(name="data", url="file:///d"))
    server.do(source, ModelAdded(id="m1", kind="output", name="model"))
    server.do(source, TaskEdited(edit=Edit(tags=["old"]), runtime={"pid": 7}))
    clone_id = server.controller.clone_task(new_id(), source, BY).id
    clone, old = server.task(clone_id), server.task(source)
    assert encode(server.reader.content_of(clone)) == encode(replace(LR, tags=["old"]))
    assert (clone.status, clone.name, clone.project) == ("created", "Clone of train", "examples")
    assert clone.cloned_from == source
    # What the source has brought about stays with it.
    assert (clone.artifacts, clone.models, clone.runtime, clone.attempts, clone.queue) == ({}, (), {}, (), None)
    assert set(old.artifacts) == {"data"}


def test_a_clone_takes_along_what_was_edited_and_is_changed_without_its_source(server):
    source = server.create(content=LR)
    server.do(source, set_parameter("lr", 0.5))
    clone = server.controller.clone_task(new_id(), source, BY).id
    server.do(clone, set_parameter("lr", 0.9))
    rates = [server.reader.content_of(server.task(id)).hyperparameters["General"]["lr"].value for id in (source, clone)]
    assert rates == [0.5, 0.9]


def test_a_clone_is_named_and_placed_as_asked(server):
    source = server.create(content=replace(LR, comment="first"))
    named = {"name": "second", "project": "elsewhere", "parent": "9" * 32, "origin": "8" * 32}
    clone = server.task(server.controller.clone_task(new_id(), source, BY, comment="", **named).id)
    assert {name: getattr(clone, name) for name in named} == named
    assert server.reader.content_of(clone).comment == ""


@pytest.mark.parametrize("parent", [None, "9" * 32])
def test_without_a_parent_a_clone_has_its_sources_or_else_its_source(server, parent):
    source = server.create(parent=parent)
    clone = server.task(server.controller.clone_task(new_id(), source, BY).id)
    assert clone.parent == (parent or source)


def test_a_clone_of_an_archived_task_is_not_archived(server):
    source = server.create(content=Content(system_tags=["archived", "pipeline", "development"], tags=["development"]))
    content = server.reader.content_of(server.task(server.controller.clone_task(new_id(), source, BY).id))
    assert (content.system_tags, content.tags) == (["pipeline"], ["development"])


def test_a_clone_is_lost_as_its_source_is(server):
    source = server.create(on_lost="fail", max_attempts=7, type="testing")
    clone = server.task(server.controller.clone_task(new_id(), source, BY).id)
    assert (clone.on_lost, clone.max_attempts, clone.type) == ("fail", 7, "testing")


def test_a_clone_of_a_step_has_its_overrides_and_belongs_to_no_run(server):
    run_id = server.submit([step("a", task=LR, parameter_override={"General/lr": 7})])
    of_step = server.of_step(run_id, "a")
    clone = server.task(server.controller.clone_task(new_id(), of_step.id, BY).id)
    assert (clone.run_id, clone.step, clone.overrides) == (None, None, None)
    assert server.reader.content_of(clone).hyperparameters["General"]["lr"] == Parameter(7, "float", "how fast")
    server.do(clone.id, EnqueueTask(queue="gpu"))  # refused to a step's task
    assert of_step.overrides == Overrides(parameters={"General/lr": 7})


# Queues and pipelines


def test_a_queue_is_made_once(server):
    head = server.head
    assert server.controller.create_queue("night", BY).id == "night"
    assert server.controller.create_queue("night", BY).version == 1
    assert server.head == head + 1
    server.enqueued(queue="night")


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 201])
def test_a_queue_needs_a_name_that_can_be_written(server, name):
    with pytest.raises(Invalid):
        server.controller.create_queue(name, BY)


def test_a_changed_pipeline_gets_the_next_version_and_an_unchanged_one_keeps_its_own(server):
    def registered(definition: Definition) -> tuple[str, int]:
        answer = server.controller.register_pipeline(definition, BY)
        return server.reader.pipeline(answer.id).pipeline_version, answer.version

    first = pipeline({"a": []})
    assert registered(first) == ("1.0.0", 1)
    assert registered(first) == ("1.0.0", 1)
    assert registered(pipeline({"a": [], "b": []})) == ("1.0.1", 2)
    assert registered(first) == ("1.0.2", 3)
    assert registered(replace(first, version="3.5")) == ("3.5", 4)
    assert registered(replace(first, tags=["x"])) == ("3.6", 5)


def test_the_reader_knows_the_newest_definition(server):
    definition = pipeline({"a": [], "b": ["a"]}, defaults={"x": 1})
    pipeline_id = server.controller.register_pipeline(definition, BY).id
    assert encode(server.reader.definition(server.reader.pipeline(pipeline_id))) == encode(definition)
    with pytest.raises(Unknown, match="no pipeline"):
        server.reader.pipeline("0" * 32)


def test_a_pipeline_is_checked_and_so_are_its_templates(server):
    with pytest.raises(Invalid, match="no steps"):
        server.controller.register_pipeline(pipeline({}), BY)
    with pytest.raises(Invalid, match=f"Step 'b': there is no template task {'e' * 32}") as refused:
        server.controller.register_pipeline(pipeline([step("a"), step("b", base_task_id="e" * 32)]), BY)
    assert refused.value.where == "steps/1/base_task_id"
    assert not server.events("PipelineRegistered")


# A refusal leaves nothing and costs the others nothing

DRAFT = "d" * 32
REFUSED: dict[str, Callable[[Server], Any]] = {
    "a task without a name": lambda server: server.create(" "),
    "a task that may never be tried": lambda server: server.create(max_attempts=0),
    "a clone without a name": lambda server: server.controller.clone_task(new_id(), DRAFT, BY, name=" "),
    "an unknown queue": lambda server: server.do(DRAFT, EnqueueTask(queue="gpus")),
    "a publication of a draft": lambda server: server.do(DRAFT, PublishTask()),
    "a queue without a name": lambda server: server.controller.create_queue("", BY),
    "a pipeline in a circle": lambda server: server.submit({"a": ["b"], "b": ["a"]}),
    "a run of an unknown template": lambda server: server.submit([step("x"), step("y", base_task_id="e" * 32)]),
    "a run on an unknown queue": lambda server: server.submit([step("x", queue="gpus")]),
    "a run moved to an unknown queue": lambda server: server.submit({"x": []}, queue="gpus"),
    "a run with an unknown parameter": lambda server: server.submit({"x": []}, parameters={"size": 3}),
}


@pytest.mark.parametrize("refused", REFUSED.values(), ids=REFUSED)
def test_a_refusal_leaves_nothing_and_costs_the_others_nothing(server, refused):
    server.controller.create_task(DRAFT, TaskCreated(name="draft", project="p", content=""), LR, BY)
    run_id = server.submit({"a": [], "b": ["a"]})
    agent = server.agent()
    claim = agent.claim()
    known, head, contents = server.controller.state.runs.get(run_id), server.head, server.rows("content")
    with pytest.raises(Refused):
        refused(server)
    assert (server.head, server.rows("content")) == (head, contents)
    # Had it left half of something, the whole batch would have been thrown away, and what is in memory with it.
    agent.beat()
    assert server.controller.state.runs.get(run_id) is known
    agent.end(claim)
    server.check()


def test_a_refusal_between_two_commands_of_one_batch_is_nobody_elses(server, commits):
    task_id = server.create()
    before = len(commits)
    first, refused, last = together(
        server.store,
        lambda: server.do(task_id, set_parameter("lr", 1)),
        lambda: server.submit([step("x", base_task_id="e" * 32)]),
        lambda: server.do(task_id, set_parameter("lr", 2)),
    )
    assert isinstance(refused, Invalid)
    assert (first.version, last.version, len(commits) - before) == (2, 3, 1)
    server.check()


# Every command that a task knows goes the same way

LIFE: list[tuple[TaskCommand, str]] = [
    (EnqueueTask(queue="default"), "queued"),
    (DequeueTask(), "created"),
    (EnqueueTask(queue="gpu", priority=3), "queued"),
    (StopTask(reason="no"), "stopped"),
    (ResetTask(), "created"),
    (EnqueueTask(queue="gpu"), "queued"),
    (LoseTask(attempt=1, reason="gone"), "queued"),
    (EndTask(status="failed", reason="enough"), "failed"),
    (ArtifactAdded(name="a", url="u"), "failed"),
    (RemoveArtifacts(names=["a"]), "failed"),
    (PublishTask(), "published"),
]


def test_every_command_of_a_task_keeps_work_leases_and_memory_true(server):
    task_id = server.create()
    for command, status in LIFE:
        server.do(task_id, command)
        assert server.task(task_id).status == status
        server.check()
    assert isinstance(server.controller.state.tasks.get(task_id), Task)


def test_a_submission_says_what_it_wants_to_run(server):
    with pytest.raises(Invalid, match="definition or a pipeline_id"):
        server.controller.submit_run(new_id(), Submission(), BY)
    with pytest.raises(Unknown, match="no pipeline"):
        server.controller.submit_run(new_id(), Submission(pipeline_id="0" * 32), BY)
