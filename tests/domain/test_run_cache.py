"""Steps that reuse results, and steps that run a task which was there before."""

from domain.content import Content, Edit, Parameter, Script
from domain.pipeline import ContinueBehaviour, StepDefinition
from domain.run_events import AdoptionAsked, CacheAnswered, CacheAsked
from domain.task import ArtifactAdded, TaskAdopted, TaskCreated
from tests.domain.play import TEMPLATE, Play, letters, pipeline, step

CODE = Content(
    script=Script(source="5" * 64, entry_point="train.py"), hyperparameters={"General": {"lr": Parameter(0.1)}}
)
DATA = ArtifactAdded(name="data", url="s3://data", hash="d" * 64)
FOUND = CacheAnswered(step="a", task_id="9" * 32, reason="reused", artifacts=[DATA])
DRAFT = "d" * 32


def cached(*more: StepDefinition, kept: CacheAnswered | None = FOUND, mode: str = "use", **fields: object) -> Play:
    play = Play(pipeline([step("a", cache=True, **fields), step("b", "a"), *more]), CODE, cache=mode, draft=True)
    play.kept = {} if kept is None else {"a": kept}
    play.start()
    return play


def asked(play: Play) -> list[CacheAsked]:
    return [fact.event for fact in play.log if isinstance(fact.event, CacheAsked)]


def test_a_hit_ends_the_step_without_a_task_of_its_own():
    play = cached()
    assert play.statuses == letters("a cached, b queued")
    assert (play.step("a").task_id, play.step("a").reason) == ("9" * 32, "reused")
    play.complete("b")
    assert play.run.status == "completed"


def test_children_read_what_the_reused_task_made():
    edit = Edit(hyperparameters={"General": {"lr": Parameter(0.7)}})
    reads = {
        "General/x": "${a.artifacts.data.url}",
        "General/id": "${a.id}",
        "General/lr": "${a.parameters.General/lr}",
    }
    found = CacheAnswered(step="a", task_id="9" * 32, artifacts=[DATA], edit=edit)
    play = cached(step("c", "a", parameter_override=reads), kept=found)
    overrides = play.created("c").overrides
    assert overrides is not None
    assert overrides.parameters == {"General/x": "s3://data", "General/id": "9" * 32, "General/lr": 0.7}


def test_a_miss_runs_the_step_and_keeps_why():
    play = cached(kept=CacheAnswered(step="a", reason="no result has this key", differs=["General/lr"]))
    assert play.statuses == letters("a queued, b pending")
    found = play.step("a").gates.found
    assert found is not None
    assert (found.reason, found.differs) == ("no result has this key", ["General/lr"])


def test_a_run_that_refreshes_looks_nothing_up_but_keeps():
    play = cached(mode="refresh")
    assert play.step("a").status == "queued"
    assert [event.look for event in asked(play)] == [False]
    assert play.step("a").gates.key is not None


def test_a_run_without_cache_asks_nothing():
    play = cached(mode="off")
    assert (play.step("a").status, asked(play)) == ("queued", [])


def test_the_key_knows_an_input_by_its_content_and_not_by_whose_it_is():
    reads = {"kwargs_artifacts/data": "${a.id}.data"}

    def key_of_b(digest: str) -> str:
        play = Play(pipeline([step("a"), step("b", "a", cache=True, parameter_override=reads)]), CODE)
        play.begin("a")
        play.artifact("a", hash=digest)
        play.complete("a")
        return asked(play)[0].key

    assert key_of_b("1" * 64) == key_of_b("1" * 64) != key_of_b("2" * 64)


def test_a_template_of_unknown_code_is_never_looked_up():
    play = Play(pipeline([step("a", cache=True)]))
    assert (play.step("a").status, asked(play)) == ("queued", [])


def test_a_step_is_looked_up_once_though_both_its_parents_end_in_one_decision():
    """Once it was launched by each of them: it ran although its results were found."""
    runs_on = ContinueBehaviour(skip_children_on_fail=False)
    steps = [step(name, queue="nowhere", continue_behaviour=runs_on) for name in "xy"]
    play = Play(pipeline([*steps, step("a", "x", "y", cache=True)]), CODE, draft=True)
    play.kept = {"a": FOUND}
    play.start()
    assert len(asked(play)) == 1
    assert (play.statuses, play.tasks) == (letters("x failed, y failed, a cached"), {})


# Tasks that were there before


def adopts(**fields: object) -> Play:
    play = Play(pipeline([step("a", clone=False, base_task_id=DRAFT, **fields), step("b", "a")]), draft=True)
    play.drafts = {DRAFT}
    play.start()
    return play


def test_a_draft_that_is_not_to_be_cloned_becomes_the_steps_task():
    play = adopts()
    assert (play.step("a").task_id, play.step("a").status) == (DRAFT, "queued")
    assert not play.of_type(TaskCreated)
    play.play("a completes, b completes")
    assert play.run.status == "completed"


def test_it_takes_the_steps_overrides_along():
    asked = adopts(parameter_override={"General/lr": 0.5}).of_type(AdoptionAsked)
    [event] = [fact.event for fact in asked if isinstance(fact.event, AdoptionAsked)]
    assert event.overrides is not None
    assert event.overrides.parameters == {"General/lr": 0.5}


def test_a_task_that_is_no_draft_any_more_is_cloned():
    steps = [step("a", clone=False, base_task_id=DRAFT), step("b", clone=False, base_task_id=DRAFT)]
    play = Play(pipeline(steps), draft=True)
    play.drafts = {DRAFT}
    play.start()
    assert (play.step("a").task_id == DRAFT, play.step("b").task_id == DRAFT) == (True, False)
    assert play.statuses == letters("a queued, b queued")
    assert (play.created("b").cloned_from, play.created("b").content) == (DRAFT, TEMPLATE)


def test_an_adopted_draft_step_waits_for_somebody_to_enqueue_it():
    play = adopts(draft=True)
    assert (play.step("a").status, play.step("a").gates.waits_for) == ("waiting", "draft")
    play.enqueue("a")
    assert play.step("a").status == "queued"


def test_a_task_is_adopted_once_though_both_parents_end_in_one_decision():
    runs_on = ContinueBehaviour(skip_children_on_fail=False)
    steps = [step(name, queue="nowhere", continue_behaviour=runs_on) for name in "xy"]
    play = Play(pipeline([*steps, step("a", "x", "y", clone=False, base_task_id=DRAFT)]), draft=True)
    play.drafts = {DRAFT}
    play.start()
    assert (len(play.of_type(AdoptionAsked)), len(play.of_type(TaskAdopted))) == (1, 1)
    assert (play.step("a").status, play.step("a").reason) == ("queued", "")
