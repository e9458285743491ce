"""What the host is asked about a step, when, and what follows from what it says, raises, and never says."""

import pytest

from domain.pipeline import HostDefinition, Retry
from domain.refused import Refused
from domain.run import AnswerHook
from domain.run_events import HookRequested
from domain.task import TaskEnqueued
from tests.domain.play import SECOND, Play, letters, pipeline, step

ERROR = "Traceback (most recent call last):\n  line 3\nValueError: no\n"


def hooked(*hooks: str, host: bool = True, whole: tuple[str, ...] = (), **fields: object) -> Play:
    definition = pipeline(
        [step("a", hooks=hooks, **fields), step("b", "a")], host=HostDefinition(), hooks=whole, hook_timeout=50.0
    )
    play = Play(definition)
    if host:
        play.host_starts()
    return play


def test_a_pre_callback_holds_the_step_before_it_has_a_task_and_sees_its_parameters():
    play = hooked("pre", parameter_override={"General/lr": 0.1})
    [(_, hook)] = play.asked("a", "pre")
    assert hook.asked.parameters == {"General/lr": 0.1}
    assert (play.statuses, play.tasks) == (letters("a waiting, b pending"), {})
    play.answer("a", "pre", verdict=True, parameters={"General/lr": 0.5}, queue="services")
    overrides = play.created("a").overrides
    assert overrides is not None
    assert overrides.parameters == {"General/lr": 0.5}
    assert (play.step("a").status, play.step("a").queue) == ("queued", "services")


@pytest.mark.parametrize("verdict", [True, None])
def test_what_is_not_false_goes_on(verdict):
    play = hooked("pre", "created")
    play.answer("a", "pre", verdict=verdict)
    play.answer("a", "created", verdict=verdict)
    assert play.step("a").status == "queued"


@pytest.mark.parametrize(
    ("kind", "callback"), [("pre", "pre_execute_callback"), ("created", "step_task_created_callback")]
)
def test_false_skips_the_step_and_its_children_and_the_run_completes(kind, callback):
    play = hooked(kind)
    play.answer("a", kind, verdict=False)
    assert (play.statuses, play.run.status) == (letters("a skipped, b skipped"), "completed")
    assert play.reasons == {"a": f"{callback} returned False", "b": "step 'a' was skipped"}


def test_a_created_callback_comes_after_the_task_is_made_and_before_it_is_queued():
    play = hooked("created")
    assert play.created("a").step == "a"
    assert not play.of_type(TaskEnqueued)
    play.answer("a", "created", verdict=True)
    assert len(play.of_type(TaskEnqueued)) == 1


def test_a_post_callback_holds_the_children():
    play = hooked("post").play("a completes")
    assert play.statuses == letters("a waiting, b pending")
    [(_, hook)] = play.asked("a", "post")
    assert hook.asked.status == "completed"
    play.answer("a", "post")
    assert play.statuses == letters("a completed, b queued")


def test_the_pipelines_own_callbacks_are_asked_about_every_step():
    play = hooked(whole=("created", "post"))
    for name in "ab":
        play.answer(name, "created", verdict=True)
        play.complete(name)
        play.answer(name, "post")
    assert play.questions() == [(kind, name) for name in "ab" for kind in ("created", "post")]
    assert play.run.status == "completed"


def test_a_retry_callback_is_asked_after_each_failure_with_the_count():
    play = hooked("retry")
    for count in range(3):
        play.fail("a")
        [(_, hook)] = play.asked("a", "retry")
        assert hook.asked.retries == count
        play.answer("a", "retry", verdict=count < 2)
    assert (play.step("a").status, play.run.status) == ("failed", "failed")


def test_counted_retries_come_before_the_callback():
    play = hooked("retry", retry=Retry(times=1)).play("a fails")
    assert not play.asked("a", "retry")
    play.fail("a")
    assert play.asked("a", "retry")


def test_retry_is_asked_before_post_and_post_only_about_the_end():
    play = hooked("retry", "post").play("a fails")
    play.answer("a", "retry", verdict=True)
    play.fail("a")
    play.answer("a", "retry", verdict=False)
    play.answer("a", "post")
    assert [kind for kind, _ in play.questions()] == ["retry", "retry", "post"]


def test_a_factory_gives_the_task_that_the_step_runs():
    play = hooked("factory", base_task_id=None, content=None)
    play.drafts = {"d" * 32}
    play.answer("a", "factory", task_id="d" * 32)
    assert (play.step("a").task_id, play.step("a").status) == ("d" * 32, "queued")
    play.complete("a")
    assert play.step("b").status == "queued"


@pytest.mark.parametrize(
    ("kind", "before", "said"),
    [
        ("pre", "", "pre_execute_callback raised ValueError: no"),
        ("created", "", "step_task_created_callback raised ValueError: no"),
        ("post", "a completes", "post_execute_callback raised ValueError: no"),
        ("retry", "a fails", "retry_on_failure raised ValueError: no"),
        ("factory", "", "base_task_factory raised ValueError: no"),
    ],
)
def test_a_callback_that_raises_fails_the_step_with_its_last_line(kind, before, said):
    play = hooked(kind).play(before)
    play.answer("a", kind, error=ERROR)
    assert (play.statuses, play.step("a").reason) == (letters("a failed, b skipped"), said)
    assert play.run.status == "failed"


@pytest.mark.parametrize(
    ("kind", "before"), [("pre", ""), ("created", ""), ("post", "a completes"), ("retry", "a fails")]
)
def test_a_callback_that_takes_too_long_fails_the_step(kind, before):
    play = hooked(kind).play(before)
    hook_id, _ = play.asked("a", kind)[0]
    play.passes(30)
    assert play.step("a").status == "waiting"
    play.passes(30)
    said = "the pipeline's host did not answer its callback within 50 s"
    assert (play.step("a").status, play.step("a").reason) == ("failed", said)
    with pytest.raises(Refused, match="Nobody waits for an answer"):
        play.command(AnswerHook(hook_id=hook_id, session="h1", attempt=1))


def test_a_question_to_a_host_that_is_not_there_yet_has_no_deadline():
    play = hooked("pre", host=False)
    play.passes(1000)
    assert play.step("a").status == "waiting"
    play.host_starts()
    play.passes(51)
    assert play.step("a").status == "failed"


# The callback that is told of each change


def test_each_change_of_status_is_told_with_the_one_before_and_holds_nothing():
    play = hooked("status").play("a completes")
    told = [(fact.event.previous, fact.event.status) for fact in play.log if isinstance(fact.event, HookRequested)]
    assert told == [("pending", "queued"), ("queued", "running"), ("running", "completed")]
    assert play.step("b").status == "queued"


def test_a_status_callback_that_raises_fails_the_run_and_no_step():
    play = hooked("status")
    play.answer("a", "status", error=ERROR)
    play.play("a completes, b completes")
    assert (play.statuses, play.run.status) == (letters("a completed, b completed"), "failed")
    assert play.run.reason == "status_change_callback of step 'a' raised ValueError: no"


def test_a_status_callback_that_never_answers_fails_the_run_and_no_step():
    """Once it went unnoticed; and where the step waited for another callback, that was taken for the late one."""
    play = hooked("status", "post").play("a completes")
    play.answer("a", "status")
    assert [hook.asked.status for _, hook in play.asked("a", "status")] == ["running"]
    hook_id, _ = play.asked("a", "post")[0]
    play.passes((min(play.run.timers.values()) - play.now) / SECOND)  # what was asked first is due, the last is not
    assert (play.step("a").status, hook_id in play.run.hooks) == ("waiting", True)
    play.answer("a", "post")
    play.complete("b")
    assert (play.statuses, play.run.status) == (letters("a completed, b completed"), "failed")
    assert "status_change_callback of step 'a': the pipeline's host did not answer" in play.run.reason


# Whose answer counts


@pytest.mark.parametrize(("session", "attempt"), [("h2", 1), ("h1", 2)])
def test_only_the_host_that_is_the_host_can_answer(session, attempt):
    play = hooked("pre")
    hook_id, _ = play.asked("a", "pre")[0]
    with pytest.raises(Refused, match="is not the host of run 'iris #1'"):
        play.command(AnswerHook(hook_id=hook_id, session=session, attempt=attempt, verdict=True))


def test_an_answer_is_taken_once():
    play = hooked("pre")
    hook_id, _ = play.asked("a", "pre")[0]
    play.answer("a", "pre", verdict=True)
    with pytest.raises(Refused, match="Nobody waits for an answer"):
        play.command(AnswerHook(hook_id=hook_id, session="h1", attempt=1, verdict=False))
    assert play.step("a").status == "queued"


def test_stopping_the_run_takes_the_questions_back():
    play = hooked("pre").play("stop")
    assert (play.statuses, play.run.status) == (letters("a skipped, b skipped"), "stopped")
    assert (len(play.run.hooks), len(play.run.timers)) == (0, 0)


def test_a_late_answer_does_not_launch_a_step_again_whose_task_is_done_already():
    """Its draft was enqueued by a person before the created callback answered; then the post callback was asked."""
    play = hooked("created", "post", draft=True)
    hook_id, _ = play.asked("a", "created")[0]
    play.enqueue("a")
    play.complete("a")
    with pytest.raises(Refused, match="Nobody waits for an answer"):
        play.command(AnswerHook(hook_id=hook_id, session="h1", attempt=1, verdict=False))
    play.answer("a", "post")
    assert play.step("a").status == "completed"
