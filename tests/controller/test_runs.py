"""Runs: what is pinned when one is submitted, how it starts, and how it is stopped."""

import pytest

from controller.handle import By, StaleVersion, Submission
from domain.content import Content, Edit, Parameter
from domain.pipeline import Definition
from domain.refused import Invalid, Refused, Unknown
from domain.run import StartRun, StopRun
from domain.task import EndTask, EnqueueTask, ResetTask, TaskEdited
from tests.controller.server import BY, Server, new_id, pipeline, step

SCRIPTED = Content(hyperparameters={"General": {"lr": Parameter(0.1), "url": Parameter("")}})


def rate_of(server: Server, run_id: str, name: str) -> object:
    content = server.reader.content_of(server.of_step(run_id, name))
    return content.hyperparameters["General"]["lr"].value


def edit(server: Server, template: str, **changes: Edit | str) -> None:
    server.do(template, TaskEdited(**changes))  # pyright: ignore[reportArgumentType]


def set_rate(server: Server, template: str, rate: float) -> None:
    edit(server, template, edit=Edit(hyperparameters={"General": {"lr": Parameter(rate)}}))


# Pinning


def test_a_template_edited_after_the_submit_changes_nothing_for_the_run(server):
    template = server.create(content=SCRIPTED, project="elsewhere")
    steps = [step("a", base_task_id=template), step("b", "a", base_task_id=template)]
    definition = pipeline(steps, target_project=False)
    run_id = server.submit(definition)
    set_rate(server, template, 0.9)
    edit(server, template, project="moved", name="renamed")
    assert server.agent().work() == ["a", "b"]
    assert [rate_of(server, run_id, name) for name in "ab"] == [0.1, 0.1]
    assert server.of_step(run_id, "b").project == "elsewhere"
    later = server.submit(definition)
    assert rate_of(server, later, "a") == 0.9
    assert server.of_step(later, "a").project == "moved"
    server.check()


def test_a_draft_pins_its_templates_when_it_is_submitted_not_when_it_starts(server):
    template = server.create(content=SCRIPTED)
    run_id = server.submit([step("a", base_task_id=template)], draft=True)
    set_rate(server, template, 0.9)
    server.restarted().controller.run(run_id, StartRun(), BY)
    assert rate_of(server, run_id, "a") == 0.1


def test_a_run_says_which_version_of_each_template_it_pinned(server):
    template = server.create(content=SCRIPTED)
    set_rate(server, template, 0.3)
    run_id = server.submit([step("a", base_task_id=template), step("b", task=SCRIPTED)])
    first, second = server.run(run_id).plan.definition.steps
    assert (first.base_task_id, first.content_version, first.content_project) == (template, 2, "examples")
    assert (second.base_task_id, second.content_version, second.task) == (None, None, None)
    assert server.run(run_id).plan.content_of("a").hyperparameters["General"]["lr"].value == 0.3


def test_a_pipeline_registered_anew_changes_nothing_for_the_run(server):
    run_id = server.submit(pipeline({"a": [], "b": ["a"]}))
    server.controller.register_pipeline(pipeline({"a": [], "c": ["a"]}), BY)
    assert server.agent().work() == ["a", "b"]
    assert server.run(run_id).status == "completed"


def test_a_template_may_be_anything_that_has_a_content_even_a_step_of_another_run(server):
    first = server.submit([step("a", task=SCRIPTED, parameter_override={"General/lr": 7})])
    second = server.submit([step("again", base_task_id=server.of_step(first, "a").id)])
    assert rate_of(server, second, "again") == 7


# What a submission can say


def test_parameters_go_over_the_defaults_and_reach_the_steps(server):
    overrides = {"General/lr": "${pipeline.lr}", "General/url": "s3://${pipeline.bucket}/x"}
    definition = pipeline([step("a", task=SCRIPTED, parameter_override=overrides)], defaults={"lr": 1, "bucket": "b"})
    run_id = server.submit(definition, parameters={"lr": 0.25})
    assert server.run(run_id).parameters == {"lr": 0.25, "bucket": "b"}
    found = server.reader.content_of(server.of_step(run_id, "a")).hyperparameters["General"]
    assert {name: one.value for name, one in found.items()} == {"lr": 0.25, "url": "s3://b/x"}


def test_runs_of_a_pipeline_are_numbered_and_named(server):
    definition = pipeline({"a": []})
    runs = [server.submit(definition), server.submit(pipeline({"b": []})), server.submit(definition, name="mine")]
    other = server.submit(pipeline({"a": []}, name="other", add_run_number=False))
    named = [(server.run(run_id).name, server.run(run_id).number) for run_id in (*runs, other)]
    assert named == [("iris #1", 1), ("iris #2", 2), ("mine", 3), ("other", 1)]
    assert [server.run(run_id).pipeline_version for run_id in runs] == ["1.0.0", "1.0.1", "1.0.2"]
    assert server.reader.pipeline(server.run(runs[0]).pipeline_id or "").runs == 3


def test_a_registered_pipeline_is_run_by_its_id(server):
    pipeline_id = server.controller.register_pipeline(pipeline({"a": []}, version="2.0"), BY).id
    run_id = server.controller.submit_run(new_id(), Submission(pipeline_id=pipeline_id), BY).id
    run = server.run(run_id)
    assert (run.name, run.pipeline_id, run.pipeline_version) == ("iris #1", pipeline_id, "2.0")
    assert list(run.plan.steps) == ["a"]


def test_tags_and_origin_stay_with_the_run(server):
    run_id = server.submit(pipeline({"a": []}, tags=["p"]), tags=["mine"], origin="7" * 32)
    assert (server.run(run_id).tags, server.run(run_id).origin) == (("p", "mine"), "7" * 32)


def test_a_queue_for_the_run_replaces_that_of_every_step_even_one_that_does_not_exist(server):
    run_id = server.submit(pipeline([step("a"), step("b", queue="gone")]), queue="gpu")
    assert [server.of_step(run_id, name).queue for name in "ab"] == ["gpu", "gpu"]


INVALID: dict[str, tuple[Definition, dict[str, object], str, str]] = {
    "template": (pipeline([step("a", base_task_id="e" * 32)]), {}, "no template task e{32}", "steps/0/base_task_id"),
    "default queue": (pipeline({"a": []}, default_queue="gpus"), {}, "no queue 'gpus'", "default_queue"),
    "queue of a step": (pipeline([step("a"), step("b", queue="gpus")]), {}, "no queue 'gpus'", "steps/1/queue"),
    "queue of the run": (pipeline({"a": []}), {"queue": "gpus"}, "no queue 'gpus'", "queue"),
    "parameter": (
        pipeline({"a": []}, defaults={"size": 1, "rate": 2}),
        {"parameters": {"sise": 3}},
        "no parameter 'sise'; it has: size, rate",
        "parameters/sise",
    ),
    "parent": (pipeline({"a": ["z"]}), {}, "waits for 'z', which is no step", "steps/0/parents"),
    "circle": (pipeline({"a": ["b"], "b": ["a"]}), {}, "in a circle: a -> b -> a", "steps"),
}


@pytest.mark.parametrize(("definition", "fields", "sentence", "where"), INVALID.values(), ids=INVALID)
def test_a_submission_of_what_does_not_exist_is_refused_with_its_place(server, definition, fields, sentence, where):
    head = server.head
    with pytest.raises(Invalid, match=sentence) as refused:
        server.submit(definition, **fields)
    assert refused.value.where == where
    assert (server.head, server.rows("content"), server.rows("work")) == (head, [], [])


# Starting and stopping


def test_a_run_starts_with_the_steps_that_wait_for_nothing(server):
    run_id = server.submit({"a": [], "b": [], "c": ["a", "b"]})
    assert server.statuses(run_id) == {"a": "queued", "b": "queued", "c": "pending"}
    assert server.run(run_id).status == "running"


def test_a_draft_waits_until_it_is_started_and_is_started_once(server):
    run_id = server.submit({"a": []}, draft=True)
    assert (server.run(run_id).status, server.rows("work")) == ("created", [])
    started = server.controller.run(run_id, StartRun(), BY, expect=1)
    assert started.version == server.run(run_id).version == 4
    assert server.controller.run(run_id, StartRun(), BY).version == 4
    assert server.agent().work() == ["a"]
    server.check()


def test_a_stopped_run_ends_what_waits_at_once_and_what_runs_when_it_has_said_so(server):
    run_id = server.submit({"a": [], "b": [], "c": ["a"], "d": ["c"]})
    agent = server.agent()
    claim = agent.claim()
    server.controller.run(run_id, StopRun(reason="wrong data"), BY)
    assert server.statuses(run_id) == {"a": "running", "b": "stopped", "c": "skipped", "d": "skipped"}
    assert server.rows("work") == []
    assert server.run(run_id).status == "running"
    assert server.agent("h:1").ask().claims == []
    [asked] = agent.ask().stop
    assert (asked.task_id, asked.lost) == (claim.task.id, False)
    agent.end(claim, "stopped")
    run = server.run(run_id)
    assert (run.status, run.reason, server.statuses(run_id)["a"]) == ("stopped", "wrong data", "stopped")
    server.check()


def test_a_run_that_is_stopped_again_stays_as_it_was_told_first(server):
    run_id = server.submit({"a": []})
    claim = (agent := server.agent()).claim()
    first = server.controller.run(run_id, StopRun(reason="one"), BY)
    assert server.controller.run(run_id, StopRun(reason="two"), BY).version == first.version
    agent.end(claim, "stopped")
    assert server.run(run_id).reason == "one"


def test_a_run_that_somebody_calls_failed_ends_failed(server):
    run_id = server.submit({"a": []})
    server.controller.run(run_id, StopRun(reason="bad input", outcome="failed"), BY)
    assert (server.run(run_id).status, server.run(run_id).reason) == ("failed", "bad input")


def test_a_stopped_draft_never_starts(server):
    run_id = server.submit({"a": []}, draft=True)
    server.controller.run(run_id, StopRun(), BY)
    assert server.run(run_id).status == "stopped"
    with pytest.raises(Refused, match="Cannot start run 'iris #1' that is stopped"):
        server.controller.run(run_id, StartRun(), BY)
    server.check()


def test_a_run_that_has_ended_cannot_be_stopped(server):
    run_id = server.submit({"a": []})
    server.agent().work()
    with pytest.raises(Refused, match="Cannot stop run 'iris #1': it is completed already"):
        server.controller.run(run_id, StopRun(), BY)


def test_a_command_meant_for_an_earlier_version_of_the_run_is_refused(server):
    run_id = server.submit({"a": []})
    version = server.run(run_id).version
    server.agent().claim()
    with pytest.raises(StaleVersion, match=f"version {version} of run 'iris #1', which is at {version + 1}"):
        server.controller.run(run_id, StopRun(), BY, expect=version)
    assert server.run(run_id).ending is None


def test_there_is_no_run_that_was_not_submitted(server):
    with pytest.raises(Unknown, match="no run"):
        server.controller.run("f" * 32, StopRun(), BY)


def test_a_steps_task_is_stopped_with_all_that_follows_for_the_run(server):
    run_id = server.submit({"a": [], "b": ["a"], "c": []})
    server.do(server.of_step(run_id, "a").id, EndTask(status="failed", reason="no"))
    assert server.statuses(run_id) == {"a": "failed", "b": "skipped", "c": "queued"}
    assert server.agent().work() == ["c"]
    assert server.run(run_id).status == "failed"
    server.check()


@pytest.mark.parametrize("command", [EnqueueTask(queue="gpu"), ResetTask()], ids=["enqueue", "reset"])
def test_a_steps_task_lives_by_its_run(server, command):
    run_id = server.submit({"a": []})
    server.agent().work()
    with pytest.raises(Refused, match="it is step 'a' of run"):
        server.do(server.of_step(run_id, "a").id, command)


def test_a_run_submitted_twice_under_one_key_is_one_run_with_one_number(server):
    key = By(actor="ana", key="k", request="r")
    first, again = [server.submit({"a": []}, by=key) for _ in range(2)]
    assert first == again
    assert server.reader.pipeline(server.run(first).pipeline_id or "").runs == 1
