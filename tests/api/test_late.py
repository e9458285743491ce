"""What comes from an attempt that was lost: refused with 409, whichever door it tries, and nothing is left of it."""

from typing import Any
from uuid import uuid4

import pytest
from starlette.testclient import TestClient

from api.services import Services
from tests.support.by_hand import Agent, Json, answered, listed, submitted
from tests.support.tasks import TASKS

POINT = {"title": "loss", "series": "train", "iteration": 1, "value": 0.5}
# What a process says of its own attempt.
SAYINGS: list[tuple[str, str, Json]] = [
    ("POST", "complete", {}),
    ("POST", "fail", {"reason": "out of memory"}),
    ("POST", "stop", {"now": True}),
    ("POST", "stop", {"reason": "enough"}),
    ("POST", "heartbeat", {}),
    ("POST", "artifacts", {"name": "model", "url": "s3://b/m"}),
    ("POST", "models", {"kind": "output", "name": "m"}),
    ("POST", "scalars", {"points": [POINT]}),
    ("POST", "plots", {"title": "t", "series": "s", "iteration": 0, "kind": "image", "url": "s3://b/p.png"}),
    ("PATCH", "", {"runtime": {"progress": 7}}),
]


@pytest.fixture
def queue(shared_client: TestClient) -> str:
    """One to which nobody else listens."""
    name = f"late {uuid4().hex}"
    answered(shared_client.post("/api/v1/queues", json={"name": name}), 201)
    return name


@pytest.mark.parametrize("taken", [True, False], ids=["while attempt 2 runs", "while attempt 2 waits"])
def test_it_is_refused_and_leaves_no_trace(shared_client: TestClient, queue: str, taken: bool):
    client = shared_client
    app: Any = client.app
    services: Services = app.state.services
    run = submitted(client, default_queue=queue)
    agent = Agent(client, queue, name=queue)
    claim, session = agent.claims()["only"], agent.session
    agent.register()  # as after it was lost: a new session, and what the old one held is another's
    agent.held.clear()
    if taken:
        assert agent.claims()["only"]["attempt"] == 2
    task = f"{TASKS}/{claim['task_id']}"

    def kept() -> Any:
        tables = [services.store.select(name) for name in ("work", "lease", "timer", "decision")]
        reports = [answered(client.get(f"{task}/{kind}")) for kind in ("scalars", "plots")]
        return services.store.head(), tables, reports, answered(client.get(task))

    before = kept()
    for method, what, body in SAYINGS:
        own = {"attempt": 1, **body, **({"session": session} if what == "heartbeat" else {})}
        problem = answered(client.request(method, f"{task}/{what}".rstrip("/"), json=own), 409)
        assert problem["code"] == "refused", what
    for what in ("exchange", "leave"):
        said = {"session": session, "reports": [agent.report(claim)]}
        late = client.post(f"/api/v1/agents/{agent.id}/{what}", json=said)
        assert answered(late, 409)["code"] == "session-superseded"
    assert kept() == before
    assert agent.works() == ([] if taken else ["only"])
    if taken:
        agent.ends(agent.held[claim["task_id"]])
    assert [row["status"] for row in listed(client, "runs") if row["id"] == run["id"]] == ["completed"]


def test_what_a_process_says_of_its_own_attempt_counts_while_it_holds_it(shared_client: TestClient, queue: str):
    submitted(shared_client, default_queue=queue)
    agent = Agent(shared_client, queue, name=queue)
    claim = agent.claims()["only"]
    ended = answered(shared_client.post(f"{TASKS}/{claim['task_id']}/complete", json={"attempt": 1}))
    assert ended["status"] == "completed"
    agent.ends(claim)
