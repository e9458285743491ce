"""The exchange past the framework: it takes only what the framework would take, and understands the same by it."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from starlette.testclient import TestClient

from api import agent_bodies, express
from domain.refused import Invalid
from tests.support.by_hand import Agent, submitted

SESSION, TASK = "5e" * 16, "0123456789abcdef" * 2
HELD = {"task_id": TASK, "attempt": 1}
REPORT = {**HELD, "status": "failed", "reason": "why: ü", "exit_code": 3, "began_at": "2026-11-22T15:31:00.123456Z"}

numbers = st.sampled_from([-1, 0, 1, 2.0, 2.5, 30, 30.1, 10_000, 10_001, 2**63 - 1, -(2**63), 2**63, True, None, "1"])
texts = st.sampled_from(["", "x", TASK, TASK.upper(), f"{TASK}\n", "\x00", "\ud800", "completed", "ended", None, 1])
times = st.sampled_from(["2026-11-22T15:31:00Z", "2026-11-22", "yesterday", "", None, 5])
held = st.fixed_dictionaries({}, optional={"task_id": texts, "attempt": numbers, "more": texts})
reports = st.fixed_dictionaries(
    {"task_id": texts | st.just(TASK), "attempt": numbers | st.just(1), "status": texts | st.just("stopped")},
    optional={"reason": texts, "exit_code": numbers, "began_at": times, "more": texts},
)
bodies = st.fixed_dictionaries(
    {"session": texts | st.just(SESSION)},
    optional={
        "held": st.lists(held | st.just(HELD), max_size=2) | st.none(),
        "reports": st.lists(reports | st.just(REPORT), max_size=2) | texts,
        "free": numbers,
        "wait": numbers,
        "more": texts,
    },
)


@given(bodies)
@settings(max_examples=300, deadline=None)
def test_what_it_takes_the_framework_takes_too_and_means_the_same(body: dict[str, Any]):
    said = express.read(json.dumps(body).encode())
    try:
        checked = agent_bodies.Exchange.model_validate(body)
        told = (checked.session, [one.held() for one in checked.held], checked.reported(), checked.free, checked.wait)
    except (ValidationError, Invalid):
        assert said is None
        return
    if said is not None:
        assert (said.session, said.held, said.reports, said.free, said.wait) == told


@pytest.mark.parametrize(
    "body",
    [
        {"session": SESSION},
        {"session": SESSION, "held": [HELD], "reports": [REPORT], "free": 10_000, "wait": 30},
        {"session": SESSION, "reports": [{**HELD, "status": "completed", "exit_code": None, "began_at": None}]},
        agent_bodies.Exchange.model_config["json_schema_extra"]["examples"][0],  # pyright: ignore
    ],
)
def test_it_takes_what_agents_say(body: dict[str, Any]):
    assert express.read(json.dumps(body).encode()) is not None


def test_the_framework_is_asked_only_for_what_is_out_of_the_ordinary(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
):
    asked: list[str] = []
    validate = agent_bodies.Exchange.reported

    def seen(body: agent_bodies.Exchange) -> Any:
        asked.append(body.session)
        return validate(body)

    monkeypatch.setattr(agent_bodies.Exchange, "reported", seen)
    submitted(client)
    agent = Agent(client)
    assert list(agent.claims()) == ["only"]
    assert asked == []
    content = json.dumps({"session": agent.session, "held": agent.naming()})
    odd = {"Content-Type": "application/json; charset=utf-8"}
    answer = client.post(f"/api/v1/agents/{agent.id}/exchange", content=content, headers=odd)
    assert answer.json() == {"claims": [], "stop": [], "reports": []}
    assert asked == [agent.session]


@pytest.mark.parametrize(
    ("content", "status", "location"),
    [
        ("{", 400, None),
        ('{"session": "short"}', 422, "session"),
        (json.dumps({"session": SESSION, "reports": [{**REPORT, "began_at": "soon"}]}), 422, "reports/0/began_at"),
        (json.dumps({"session": SESSION, "reports": [{**REPORT, "status": "odd"}]}), 422, "reports/0/status"),
    ],
)
def test_a_bad_body_is_refused_as_everywhere(client: TestClient, content: str, status: int, location: str | None):
    path = f"/api/v1/agents/{TASK}/exchange"
    answer = client.post(path, content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == status
    assert [error["location"] for error in answer.json()["errors"]] == ([location] if location else [])


def test_it_is_counted_by_the_address_of_its_route(client: TestClient):
    agent = Agent(client)
    agent.exchange()
    by_status = client.app.state.requests.by_status  # pyright: ignore
    routes = {route for method, route, _ in by_status if method == "POST"}
    agent.says("exchange", free="many")
    assert by_status["POST", "/agents/{agent_id}/exchange", 200] >= 1, routes
    assert by_status["POST", "/agents/{agent_id}/exchange", 422] == 1, by_status
