"""Agents by HTTP: registered, given work, told to stop, and heard when they report."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from starlette.requests import Request
from starlette.testclient import TestClient

from api.exchanging import exchanged
from api.services import Services
from api.waiting import Waiting
from controller.exchange import Exchanged
from tests.support.by_hand import Agent, Json, answered, listed, step, steps_of, submitted, template
from tests.support.waiting import wait_until

AGENTS = "/api/v1/agents"
NOBODY = "0" * 32
SESSION = "5e" * 16
LONG = 30  # seconds: whoever waits that long has not been woken
SOON = 20  # seconds: what was woken has answered by then

Later = Callable[..., "Future[Any]"]


@pytest.fixture
def later() -> Iterator[Later]:
    """Calls something in another thread."""
    with ThreadPoolExecutor(8) as pool:
        yield pool.submit


@pytest.fixture
def waiting(client: TestClient) -> Waiting:
    app: Any = client.app
    return app.state.waiting


def is_waiting(waiting: Waiting, agent: Agent) -> None:
    """Returns when the agent's exchange has looked and found nothing."""
    wait_until(lambda: waiting.is_asleep(agent.session), "the exchange waits")


def test_a_registered_agent_is_told_its_lease(start: Callable[..., TestClient]):
    client = start(lease=20.0)
    body = {"name": "node1", "session": SESSION, "queues": ["default"]}
    answer = client.post(AGENTS, json=body)
    registered = answered(answer, 201)
    assert (registered["session"], registered["lease"], registered["heartbeat"]) == (SESSION, 20.0, 6.0)
    assert answer.headers["Foldline-Position"].startswith("0-")
    assert answered(client.post(AGENTS, json=body), 201) == registered


def test_an_agent_is_shown_with_what_it_runs(client: TestClient):
    submitted(client, step("a"), step("b"))
    agent = Agent(client, slots=2)
    agent.claims()
    shown = answered(client.get(f"{AGENTS}/{agent.id}"))
    assert (shown["name"], shown["status"], shown["queues"], shown["slots"]) == ("node1", "online", ["default"], 2)
    assert (shown["running"], shown["session"]) == (2, agent.session)
    assert shown["last_seen_at"] >= shown["registered_at"]
    assert listed(client, "agents") == [shown]
    answered(agent.says("leave"))
    assert answered(client.get(f"{AGENTS}/{agent.id}"))["status"] == "left"


def test_agents_are_listed_newest_first(client: TestClient):
    names = ["one", "two", "three"]
    for name in names:
        Agent(client, name=name)
    listed(client, "agents")
    first = answered(client.get(AGENTS, params={"limit": 2}))
    rest = answered(client.get(AGENTS, params={"limit": 2, "cursor": first["next_cursor"]}))
    assert [agent["name"] for agent in first["items"] + rest["items"]] == names[::-1]
    assert rest["next_cursor"] is None
    for params in ({"limit": 0}, {"cursor": "x"}):
        answered(client.get(AGENTS, params=params), 422)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        pytest.param({"queues": ["gpu"]}, "queues", id="unknown queue"),
        pytest.param({"queues": []}, "queues", id="no queue"),
        pytest.param({"session": "x"}, "session", id="no session"),
        pytest.param({"name": " "}, "name", id="no name"),
        pytest.param({"name": "a\x00"}, "name", id="control character"),
        pytest.param({"slots": 0}, "slots", id="no slot"),
        pytest.param({"speed": 1}, "speed", id="unknown field"),
    ],
)
def test_an_agent_that_makes_no_sense_is_refused(shared_client: TestClient, change: Json, place: str):
    body = {"name": "node1", "session": SESSION, "queues": ["default"], **change}
    problem = answered(shared_client.post(AGENTS, json=body), 422)
    assert [error["location"] for error in problem["errors"]] == [place]


def test_a_claim_holds_the_whole_task(client: TestClient):
    run = submitted(client, step("train", parameter_override={"General/lr": 0.1}))
    agent = Agent(client)
    [claim] = agent.exchange()["claims"]
    task = answered(client.get(f"/api/v1/tasks/{claim['task_id']}"))
    assert claim == {
        "task_id": task["id"], "attempt": 1, "queue": "default", "run_id": run["id"], "step": "train", "lease": 10.0,
        "task": task,
    }  # fmt: skip
    assert task["hyperparameters"]["General"]["lr"]["value"] == 0.1
    assert task["attempts"][0]["agent"] == agent.id


def test_an_agent_gets_no_more_than_it_has_room_for(client: TestClient):
    submitted(client, *(step(f"s{number}") for number in range(5)))
    agent = Agent(client)
    assert len(agent.exchange(free=2)["claims"]) == 2
    assert agent.exchange(free=0)["claims"] == []
    assert len(agent.exchange(free=9)["claims"]) == 3


def test_a_claim_that_got_lost_is_handed_over_again(client: TestClient):
    submitted(client)
    agent = Agent(client)
    [claim] = agent.exchange()["claims"]
    agent.held.clear()
    assert agent.exchange(free=0)["claims"] == [claim]
    assert agent.exchange()["claims"] == []


def test_reports_are_taken_and_what_follows_is_claimed_in_one_call(client: TestClient):
    run = submitted(client, step("a"), step("b", "a"))
    agent = Agent(client)
    a = agent.claims()["a"]
    report = agent.report(a, exit_code=0, began_at="2026-11-22T15:31:00.123456Z")
    agent.held.clear()
    found = agent.exchange(reports=[report], wait=LONG)
    assert found["reports"] == [{"task_id": a["task_id"], "attempt": 1, "accepted": True, "reason": ""}]
    assert [claim["step"] for claim in found["claims"]] == ["b"]
    [attempt] = answered(client.get(f"/api/v1/tasks/{a['task_id']}"))["attempts"]
    assert (attempt["status"], attempt["exit_code"], attempt["began_at"]) == ("completed", 0, report["began_at"])
    assert steps_of(client, run)["b"]["status"] == "running"


def test_a_report_that_comes_too_late_is_told_so(client: TestClient):
    submitted(client)
    agent = Agent(client)
    claim = agent.claims()["only"]
    agent.register()
    [receipt] = agent.exchange(reports=[agent.report(claim)])["reports"]
    assert not receipt["accepted"]
    assert "can report nothing any more" in receipt["reason"]
    [stranger] = agent.exchange(reports=[{"task_id": NOBODY, "attempt": 1, "status": "failed"}])["reports"]
    assert not stranger["accepted"]


@pytest.mark.parametrize(
    ("body", "place"),
    [
        pytest.param({"wait": 31}, "wait", id="too long"),
        pytest.param({"free": -1}, "free", id="less than no room"),
        pytest.param({"held": [{"task_id": NOBODY, "attempt": 0}]}, "held/0/attempt", id="no attempt"),
        pytest.param(
            {"reports": [{"task_id": NOBODY, "attempt": 1, "status": "completed", "began_at": "noon"}]},
            "reports/0/began_at",
            id="no time",
        ),
        pytest.param(
            {"reports": [{"task_id": NOBODY, "attempt": 1, "status": "done"}]}, "reports/0/status", id="no status"
        ),
    ],
)
def test_an_exchange_that_makes_no_sense_is_refused(shared_client: TestClient, body: Json, place: str):
    problem = answered(Agent(shared_client).says("exchange", **body), 422)
    assert [error["location"] for error in problem["errors"]] == [place]


def test_a_waiting_exchange_is_woken_by_work(client: TestClient, later: Later, waiting: Waiting):
    agent = Agent(client)
    found = later(agent.exchange, wait=LONG)
    is_waiting(waiting, agent)
    submitted(client)
    assert [claim["step"] for claim in found.result(SOON)["claims"]] == ["only"]


def test_work_of_other_queues_wakes_nobody(client: TestClient, services: Services, later: Later, waiting: Waiting):
    agent = Agent(client, "services")
    looks: list[int] = []
    exchange = Asked(client, services, agent, looks.append)
    found = later(exchange.wait)
    is_waiting(waiting, agent)
    submitted(client)
    submitted(client, name="other", default_queue="services")
    [claim] = found.result(SOON).claims
    assert (claim.task.queue, len(looks)) == ("services", 2)


def test_an_exchange_without_work_ends_when_its_time_is_over(client: TestClient):
    assert Agent(client).exchange(wait=0.05) == {"claims": [], "stop": [], "reports": []}


def test_a_newer_exchange_ends_the_wait_of_the_older_one(client: TestClient, later: Later, waiting: Waiting):
    agent = Agent(client)
    older = later(agent.exchange, wait=LONG)
    is_waiting(waiting, agent)
    agent.exchange()
    assert older.result(SOON) == {"claims": [], "stop": [], "reports": []}


def test_a_waiting_exchange_hears_at_once_what_is_to_stop(client: TestClient, later: Later, waiting: Waiting):
    run = submitted(client)
    agent = Agent(client)
    claim = agent.claims()["only"]
    found = later(agent.exchange, wait=LONG, free=0)
    is_waiting(waiting, agent)
    answered(client.post(f"/api/v1/runs/{run['id']}/stop", json={"reason": "wrong data"}))
    stop = {"task_id": claim["task_id"], "attempt": 1, "reason": "the run was stopped: wrong data", "lost": False}
    assert found.result(SOON)["stop"] == [stop]
    # Told once, it is told again with whatever else there is, and by the heartbeat, but is no news.
    again = later(agent.exchange, wait=LONG)
    is_waiting(waiting, agent)
    submitted(client, step("more"), name="more")
    told = again.result(SOON)
    assert (told["stop"], [one["step"] for one in told["claims"]]) == ([stop], ["more"])
    assert answered(agent.says("heartbeat", held=agent.naming()))["stop"] == [stop]


def test_a_new_session_ends_the_old_one_and_what_it_held(client: TestClient, later: Later, waiting: Waiting):
    run = submitted(client)
    agent = Agent(client)
    claim = agent.claims()["only"]
    old = agent.session
    held = agent.naming()
    waits = later(agent.says, "exchange", held=held, free=1, wait=LONG)
    is_waiting(waiting, agent)
    agent.register()
    assert answered(waits.result(SOON), 409)["code"] == "session-superseded"
    for what in ("exchange", "heartbeat", "leave"):
        late = client.post(f"{AGENTS}/{agent.id}/{what}", json={"session": old})
        assert answered(late, 409)["code"] == "session-superseded"
    assert steps_of(client, run)["only"]["status"] == "queued"
    [stop] = answered(agent.says("heartbeat", held=held))["stop"]
    assert (stop["task_id"], stop["lost"]) == (claim["task_id"], True)


def test_what_an_agent_holds_when_it_leaves_goes_to_another(client: TestClient):
    submitted(client, step("a"), step("b"))
    leaves = Agent(client)
    claims = leaves.claims()
    a, b = claims["a"], claims["b"]
    found = answered(leaves.says("leave", reports=[leaves.report(a)]))
    assert [receipt["accepted"] for receipt in found["reports"]] == [True]
    taken = Agent(client, name="node2").claims()
    assert [(name, claim["attempt"]) for name, claim in taken.items()] == [("b", 2)]
    assert taken["b"]["task_id"] == b["task_id"]


def test_the_end_of_the_server_ends_all_waits(client: TestClient, later: Later, waiting: Waiting):
    agent = Agent(client)
    found = later(agent.exchange, wait=LONG)
    is_waiting(waiting, agent)
    waiting.close()
    assert found.result(SOON)["claims"] == []
    assert agent.exchange(wait=LONG)["claims"] == []


def test_who_has_left_claims_nothing_any_more(client: TestClient, services: Services, later: Later, waiting: Waiting):
    agent, other = Agent(client), Agent(client, name="node2")
    exchange = Asked(client, services, agent)
    found = later(exchange.wait)
    is_waiting(waiting, agent)
    exchange.client_leaves()
    assert found.result(SOON).claims == []
    submitted(client)
    assert [claim["step"] for claim in other.exchange()["claims"]] == ["only"]


class Asked:
    """An exchange without a connection: it can be seen how often it looks, and its client can leave."""

    def __init__(
        self,
        client: TestClient,
        services: Services,
        agent: Agent,
        looked: Callable[[int], None] = lambda position: None,
    ) -> None:
        assert client.portal is not None
        self._portal, self._app, self._services, self._agent = client.portal, client.app, services, agent
        self._looked, self._gone = looked, asyncio.Event()

    def wait(self) -> Exchanged:
        return self._portal.call(self._exchange)

    def client_leaves(self) -> None:
        self._portal.call(self._gone.set)

    async def _exchange(self) -> Exchanged:
        request, agent = Request({"type": "http", "app": self._app}, self._receive), self._agent
        return await exchanged(
            request, self._services, agent.id, agent.session, self._look, takes_work=True, seconds=LONG
        )

    def _look(self) -> Exchanged:
        agent = self._agent
        found = self._services.exchange.exchange(agent.id, agent.session, held=[], reports=[], free=1)
        self._looked(found.position)
        return found

    async def _receive(self) -> Json:
        await self._gone.wait()
        return {"type": "http.disconnect"}


@pytest.mark.parametrize("agent_id", [NOBODY, "no id"])
def test_an_unknown_agent_is_not_found(shared_client: TestClient, agent_id: str):
    answered(shared_client.get(f"{AGENTS}/{agent_id}"), 404)
    for what in ("exchange", "heartbeat", "leave"):
        answered(shared_client.post(f"{AGENTS}/{agent_id}/{what}", json={"session": SESSION}), 404)


# Two servers over one database


@pytest.fixture
def two(start: Callable[..., TestClient], postgres_url: str) -> tuple[TestClient, TestClient]:
    return start(db=postgres_url), start(db=postgres_url)


def test_an_exchange_hears_of_work_that_another_server_was_given(two: tuple[TestClient, TestClient], later: Later):
    here, there = two
    agent = Agent(here)
    found = later(agent.exchange, wait=LONG)
    app: Any = here.app
    is_waiting(app.state.waiting, agent)
    run = submitted(there)
    [claim] = found.result(SOON)["claims"]
    assert claim["run_id"] == run["id"]
    stopped = later(agent.exchange, wait=LONG, free=0)
    is_waiting(app.state.waiting, agent)
    answered(there.post(f"/api/v1/runs/{run['id']}/stop"))
    assert [stop["task_id"] for stop in stopped.result(SOON)["stop"]] == [claim["task_id"]]


def test_an_agent_may_change_servers(two: tuple[TestClient, TestClient]):
    here, there = two
    run = submitted(there, step("a"), step("b", "a"))
    agent = Agent(here)
    agent.client = there
    a = agent.claims()["a"]
    agent.client = here
    assert list(agent.ends(a)) == ["b"]
    assert wait_until(lambda: not answered(there.get(f"/api/v1/runs/{run['id']}"))["warnings"], "the agent is known")


def test_who_follows_the_log_hears_of_what_another_server_wrote(two: tuple[TestClient, TestClient], later: Later):
    here, there = two
    app: Any = here.app
    services: Services = app.state.services
    assert here.portal is not None

    async def woken_by(position: int) -> bool:
        with app.state.waiting.following() as waiter:
            while services.store.head() < position:
                if not await waiter.wait(SOON):
                    return False
        return True

    heard = later(here.portal.call, woken_by, services.store.head() + 1)
    template(there)
    assert heard.result(SOON)
