"""The process that runs a pipeline's own Python: claimed or held, asked, answering, and adding steps."""

from typing import Any
from uuid import uuid4

from starlette.testclient import TestClient

from tests.support.by_hand import Agent, Json, answered, definition, listed, step, steps_of

RUNS = "/api/v1/runs"
HOST = {"queue": "services", "task": {"script": {"entry_point": "pipeline.py"}, "hyperparameters": {"A": {"x": {}}}}}


def submitted(client: TestClient, *steps: Json, run: Json | None = None, **fields: Any) -> Json:
    body = {"definition": definition(*steps, host=HOST, **fields), **(run or {})}
    return answered(client.post(RUNS, json=body), 201)


def held(**fields: Any) -> Json:
    """Of a submission whose own process is the host."""
    return {"host": {"session": uuid4().hex, "host": "laptop", "lease": 30.0, **fields}}


def now(client: TestClient, run: Json) -> Json:
    return answered(client.get(f"{RUNS}/{run['id']}"))


def asked(client: TestClient, run: Json, **params: Any) -> list[Json]:
    return answered(client.get(f"{RUNS}/{run['id']}/hooks", params=params))["items"]


class Host:
    """A host without a program: it answers as it is told to."""

    def __init__(self, client: TestClient, run: Json, session: str, attempt: int = 1) -> None:
        self.client, self.run, self.who = client, run, {"session": session, "attempt": attempt}

    def answers(self, hook: Json, status: int = 200, **body: Any) -> Json:
        address = f"{RUNS}/{self.run['id']}/hooks/{hook['id']}"
        return answered(self.client.post(address, json={**self.who, **body}), status)

    def adds(self, call: int, added: Json, status: int = 201, fingerprint: str = "", **how: Any) -> Json:
        body = {**self.who, "call": call, "fingerprint": fingerprint, "step": added}
        return answered(self.client.post(f"{RUNS}/{self.run['id']}/steps", json=body, **how), status)


def test_a_run_asks_for_its_host_and_says_when_nobody_takes_it(client: TestClient):
    run = submitted(client, step("a", hooks=["pre"]))
    said = "the pipeline's host waits: no agent listens to queue 'services'"
    assert (run["waiting_for"]["kind"], run["waiting_for"]["text"]) == ("host", said)
    assert run["warnings"] == ["no agent listens to queue 'default'", "no agent listens to queue 'services'"]
    assert (run["host"]["status"], run["host"]["queue"], run["host"]["attempt"]) == ("queued", "services", 0)
    waiting = steps_of(client, run)["a"]
    assert (waiting["status"], waiting["reason"], waiting["waiting_for"]["kind"]) == ("waiting", said, "host")
    assert listed(client, "runs") == [now(client, run)]
    assert [queue["length"] for queue in listed(client, "queues")] == [0, 1]


def test_the_claim_of_a_host_is_the_run_as_a_task(client: TestClient):
    run = submitted(client, step("a", hooks=["pre"]), parameters=[{"name": "size", "default": 2, "type": "int"}])
    agent = Agent(client, "services")
    [claim] = agent.exchange()["claims"]
    assert (claim["task_id"], claim["run_id"], claim["step"], claim["queue"]) == (
        run["id"],
        run["id"],
        None,
        "services",
    )
    task = claim["task"]
    assert (task["type"], task["script"]["entry_point"], task["status"]) == ("controller", "pipeline.py", "in_progress")
    assert task["hyperparameters"]["Args"]["size"] == {"value": 2, "type": "int", "description": None}
    assert list(task["hyperparameters"]) == ["A", "Args"]
    assert [(one["number"], one["agent"], one["status"]) for one in task["attempts"]] == [(1, agent.id, "in_progress")]
    assert now(client, run)["host"]["agent"] == agent.id
    assert listed(client, "runs") == [now(client, run)]
    assert [one["running"] for one in listed(client, "agents")] == [1]
    assert agent.exchange()["stop"] == []


def test_a_question_gates_its_step_and_the_answer_changes_it(client: TestClient):
    run = submitted(client, step("a", hooks=["pre"], parameter_override={"General/lr": 0.1}), run=held())
    host = Host(client, run, now(client, run)["host"]["session"])
    [hook] = asked(client, run)
    assert (hook["kind"], hook["step"], hook["parameters"]) == ("pre", "a", {"General/lr": 0.1})
    waiting = steps_of(client, run)["a"]["waiting_for"]
    assert (waiting["kind"], waiting["text"]) == ("hook", "the pipeline's host answers its pre_execute_callback")
    assert waiting["until"] > hook["requested_at"]
    assert now(client, run)["open_hooks"] == 1
    assert host.answers(hook, parameters={"General/lr": 0.5}) == {"id": hook["id"], "accepted": True}
    assert asked(client, run) == []
    claim = Agent(client).claims()["a"]
    assert claim["task"]["hyperparameters"]["General"]["lr"]["value"] == 0.5
    assert host.answers(hook, 409)["code"] == "refused"
    assert listed(client, "runs") == [now(client, run)]


def test_only_the_host_answers(client: TestClient):
    run = submitted(client, step("a", hooks=["pre"]), run=held())
    [hook] = asked(client, run)
    assert "is not the host" in Host(client, run, "0" * 32).answers(hook, 409)["detail"]


def test_who_waits_for_questions_hears_of_the_runs_end(client: TestClient):
    run = submitted(client, step("a", hooks=["status"]), run=held())
    host = Host(client, run, now(client, run)["host"]["session"])
    agent = Agent(client)
    agent.works()
    found = asked(client, run, wait=5)
    assert [(one["previous"], one["status"]) for one in found] == [
        ("pending", "queued"), ("queued", "running"), ("running", "completed"),
    ]  # fmt: skip
    for hook in found:
        host.answers(hook)
    ended = answered(client.get(f"{RUNS}/{run['id']}/hooks", params={"wait": 20}))
    assert (ended["items"], ended["status"]) == ([], "completed")
    answered(client.get(f"{RUNS}/{run['id']}/hooks", params={"wait": 31}), 422)


def test_a_dynamic_run_is_given_its_steps_call_by_call(client: TestClient):
    run = submitted(client, dynamic=True, run=held())
    session = now(client, run)["host"]["session"]
    host, agent = Host(client, run, session), Agent(client)
    first = host.adds(0, step("a"), fingerprint="a()")
    assert (first["name"], first["status"]) == ("a", "queued")
    takes = {"General/url": "${a.artifacts.data.url}"}
    second = host.adds(1, step("b", parameter_override=takes), headers={"Idempotency-Key": "b"})
    assert (second["parents"], second["waiting_for"]["kind"]) == (["a"], "parents")
    assert host.adds(1, step("b", parameter_override=takes), headers={"Idempotency-Key": "b"}) == second
    assert host.adds(0, step("a"), 200, fingerprint="a()")["status"] == "queued"
    assert host.adds(0, step("other"), 409, fingerprint="other()")["code"] == "diverged"
    assert host.adds(7, step("c"), 409)["code"] == "refused"
    assert host.adds(2, step("a"), 422)["errors"][0]["location"] == "step/name"
    a = agent.claims()["a"]
    answered(client.post(f"/api/v1/tasks/{a['task_id']}/artifacts", json={"name": "data", "url": "s3://b/x"}), 201)
    agent.ends(agent.ends(a)["b"])
    assert now(client, run)["status"] == "running"
    answered(client.post(f"/api/v1/tasks/{run['id']}/complete"))
    assert (now(client, run)["status"], now(client, run)["host"]["status"]) == ("completed", "ended")
    assert list(steps_of(client, run)) == ["a", "b"]
    assert listed(client, "runs") == [now(client, run)]
    assert answered(client.post(f"{RUNS}/{run['id']}/verify"))["differences"] == []


def test_a_definition_without_a_host_adds_no_steps(client: TestClient):
    body = {"definition": definition(step("a"))}
    run = answered(client.post(RUNS, json=body), 201)
    assert Host(client, run, "0" * 32).adds(0, step("b"), 409)["code"] == "refused"
    answered(client.post(RUNS, json={"definition": definition(dynamic=True)}), 422)


def test_a_host_held_by_the_callers_process_beats_and_ends(client: TestClient):
    run = submitted(client, step("a", hooks=["pre"]), run=held())
    shown = now(client, run)["host"]
    assert (shown["status"], shown["attempt"], shown["agent"]) == ("running", 1, None)
    beat = {"session": shown["session"], "attempt": 1}
    address = f"/api/v1/tasks/{run['id']}/heartbeat"
    assert answered(client.post(address, json=beat)) == {"stop": False, "reason": ""}
    answered(client.post(address, json={**beat, "session": "0" * 32}), 409)
    failed = answered(client.post(f"/api/v1/tasks/{run['id']}/fail", json={"reason": "it broke"}))
    assert (failed["status"], failed["attempts"][0]["status"]) == ("failed", "failed")
    assert now(client, run)["reason"] == "the pipeline's script failed: it broke"


def test_a_lost_host_is_replaced_and_asked_again(client: TestClient):
    run = submitted(client, step("a", hooks=["pre"]))
    agent = Agent(client, "services")
    agent.exchange()
    [before] = asked(client, run)
    answered(agent.says("leave"))
    assert (now(client, run)["host"]["status"], now(client, run)["host"]["attempt"]) == ("queued", 1)
    agent.register()
    agent.held.clear()
    [claim] = agent.exchange()["claims"]
    assert claim["attempt"] == 2
    assert asked(client, run) == [before]
    Host(client, run, agent.session, 2).answers(before, verdict=False)
    assert steps_of(client, run)["a"]["reason"] == "pre_execute_callback returned False"
    attempts = answered(client.get(f"/api/v1/tasks/{run['id']}"))["attempts"]
    assert [one["status"] for one in attempts] == ["lost", "in_progress"]
