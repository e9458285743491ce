"""What may be changed in a task, and when; what it makes; what a reset forgets."""

import pytest

from domain.content import Configuration, Container, Edit, Parameter, Script
from domain.lifecycle import TASK_STATES
from domain.refused import Refused
from domain.task import ArtifactAdded, ArtifactsRemoved, ModelAdded, RemoveArtifacts, TaskEdited, TaskReset, decide
from tests.domain.histories import COMPLETED, CREATED, HISTORY, fold

DEEP = {
    "type": Edit(type="testing"),
    "script": Edit(script=Script(entry_point="other.py")),
    "container": Edit(container=Container(image="other")),
    "hyperparameters": Edit(hyperparameters={"General": {"lr": Parameter(0.2)}}),
    "configuration": Edit(configuration={"model": Configuration("text")}),
}
LIGHT = {
    "user properties": Edit(hyperparameters={"properties": {"owner": Parameter("ana")}}),
    "comment": Edit(comment="better"),
    "tags": Edit(tags=["best"]),
    "system_tags": Edit(system_tags=["hidden"]),
    "output_destination": Edit(output_destination="s3://bucket"),
}


@pytest.mark.parametrize("status", TASK_STATES)
@pytest.mark.parametrize("edit", DEEP.values(), ids=DEEP)
def test_what_a_task_is_run_with_can_be_edited_before_and_while_it_runs(status, edit):
    if status in ("created", "queued", "in_progress"):
        assert decide(TaskEdited(edit=edit), fold(HISTORY[status])) == [TaskEdited(edit=edit)]
        return
    with pytest.raises(Refused, match=r"Reset it first, or clone it and edit the clone\."):
        decide(TaskEdited(edit=edit), fold(HISTORY[status]))


@pytest.mark.parametrize("status", TASK_STATES)
@pytest.mark.parametrize("edit", LIGHT.values(), ids=LIGHT)
def test_what_people_say_about_a_task_can_be_edited_always(status, edit):
    assert decide(TaskEdited(edit=edit), fold(HISTORY[status])) == [TaskEdited(edit=edit)]


@pytest.mark.parametrize(
    "edit",
    [
        Edit(hyperparameters={"properties": {}, "General": {"lr": Parameter(0.2)}}),
        Edit(hyperparameters={"properties": {}}, replace_hyperparameters=True),
        Edit(hyperparameters={"properties": {}}, type="testing"),
    ],
)
def test_properties_take_nothing_else_along_into_what_has_run(edit):
    with pytest.raises(Refused, match="Reset it first"):
        decide(TaskEdited(edit=edit), fold(HISTORY["completed"]))


def test_the_running_attempt_may_edit():
    edit = TaskEdited(edit=DEEP["hyperparameters"], attempt=1)
    assert decide(edit, fold(HISTORY["in_progress"])) == [edit]


@pytest.mark.parametrize("edit", [TaskEdited(), TaskEdited(attempt=1), TaskEdited(edit=Edit())])
def test_an_edit_of_nothing_is_no_event(edit):
    assert decide(edit, fold(HISTORY["in_progress"])) == []


def test_edits_add_up():
    edits = [
        TaskEdited(name="better", project="other", parent="t0", runtime={"a": 1, "b": 2}),
        TaskEdited(edit=Edit(type="testing"), runtime={"a": None, "c": 3}),
        TaskEdited(edit=Edit(comment="nice")),
    ]
    task = fold([CREATED, *edits])
    assert (task.name, task.project, task.parent, task.type) == ("better", "other", "t0", "testing")
    assert task.runtime == {"b": 2, "c": 3}
    assert task.edits == (Edit(type="testing"), Edit(comment="nice"))


def test_an_artifact_replaces_the_one_of_its_name():
    first, second = ArtifactAdded(name="data", url="u1"), ArtifactAdded(name="data", url="u2", attempt=1)
    task = fold([*HISTORY["in_progress"], first, second])
    assert {name: (a.record, a.timestamp) for name, a in task.artifacts.items()} == {"data": (second, 5_000_000)}


def test_artifacts_are_removed_by_name_and_the_others_stay():
    made = [ArtifactAdded(name=name, url=name) for name in ("a", "b", "c")]
    task = fold([*HISTORY["in_progress"], *made])
    decided = decide(RemoveArtifacts(names=["c", "a", "c"], attempt=1), task)
    assert decided == [ArtifactsRemoved(names=("c", "a"), attempt=1)]
    assert list(fold([*HISTORY["in_progress"], *made, *decided]).artifacts) == ["b"]


def test_only_what_a_completed_task_loses_makes_its_results_incomplete():
    data, gone = ArtifactAdded(name="data", url="u"), ArtifactsRemoved(names=["data"])
    assert not fold([*HISTORY["in_progress"], data, gone, COMPLETED]).incomplete
    assert fold([*HISTORY["completed"], data, gone]).incomplete
    assert not fold([*HISTORY["completed"], data, gone, TaskReset()]).incomplete


@pytest.mark.parametrize("status", ["in_progress", "completed"])
def test_the_last_attempt_adds_artifacts_until_it_is_lost(status):
    added = ArtifactAdded(name="data", url="u", attempt=1)
    assert decide(added, fold(HISTORY[status])) == [added]


def test_a_reset_forgets_what_the_attempts_made_and_keeps_what_was_given():
    made = [
        ArtifactAdded(name="given", url="u1", mode="input"),
        ArtifactAdded(name="made", url="u2"),
        ModelAdded(id="m1", kind="input", name="given"),
        ModelAdded(id="m2", kind="output", name="made"),
        TaskEdited(runtime={"progress": 50}),
        TaskEdited(edit=Edit(comment="kept")),
    ]
    task = fold([*HISTORY["in_progress"], *made, COMPLETED, TaskReset()])
    assert list(task.artifacts) == ["given"]
    assert [model.name for model in task.models] == ["given"]
    assert (task.runtime, task.queue, task.reason, task.started_at, task.ended_at) == ({}, None, "", None, None)
    assert task.edits == (Edit(comment="kept"),)
