"""What a run's record says, by HTTP: its events, its states replayed, and whether the record is true."""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any
from uuid import uuid4

import pytest
from msgspec.structs import replace
from starlette.testclient import TestClient

from api.replay import replayed
from api.services import Services
from api.streams import EVENTS, LINES
from api.waiting import Waiting
from controller.reading import Reader
from controller.snapshots import code, decode, encode
from eventstore.snapshots import Snapshots
from tests.support.by_hand import Agent, Json, answered, listed, step, steps_of, submitted
from tests.support.waiting import wait_until

RUNS = "/api/v1/runs"
SSE = {"Accept": "text/event-stream"}


def worked(client: TestClient) -> Json:
    """A run of two steps that has been worked through, beside another one."""
    queue = uuid4().hex
    answered(client.post("/api/v1/queues", json={"name": queue}), 201)
    submitted(client, default_queue=queue)
    run = submitted(client, step("a"), step("b", "a"), default_queue=queue)
    Agent(client, queue, name=queue).works()
    return answered(client.get(f"{RUNS}/{run['id']}"))


@pytest.fixture(scope="module")
def run(shared_client: TestClient) -> Json:
    """Worked through, and only looked at."""
    return worked(shared_client)


def lines(client: TestClient, run: Json, **params: Any) -> list[Json]:
    answer = client.get(f"{RUNS}/{run['id']}/replay", params=params)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/x-ndjson")
    return [json.loads(line) for line in answer.text.splitlines()]


def services_of(client: TestClient) -> Services:
    app: Any = client.app
    return app.state.services


def server_sent(text: str) -> list[Json]:
    """The events, each a mapping of its fields; comments left out."""
    blocks = [[line.split(": ", 1) for line in block.splitlines()] for block in text.split("\n\n") if block]
    return [dict(block) for block in blocks if block[0][0]]


def test_the_history_has_every_event_of_the_run_and_its_tasks(shared_client: TestClient, run: Json):
    address = f"{RUNS}/{run['id']}/history"
    events = answered(shared_client.get(address))["items"]
    assert [event["run_version"] for event in events] == list(range(1, run["version"] + 1))
    assert [event["type"] for event in events[:4]] == ["RunCreated", "RunStarted", "TaskCreated", "TaskEnqueued"]
    assert [event["type"] for event in events][-1] == "RunCompleted"
    pages, following = [], "0"
    while following is not None:
        page = answered(shared_client.get(address, params={"limit": 4, "cursor": following}))
        pages += page["items"]
        following = page["next_cursor"]
    assert pages == events
    assert answered(shared_client.get(address, params={"after": run["version"]}))["items"] == []


@pytest.mark.parametrize("params", [{"after": -1}, {"after": "x"}, {"cursor": 2**31}, {"limit": 501}])
def test_a_history_that_makes_no_sense_is_refused(shared_client: TestClient, run: Json, params: Json):
    answered(shared_client.get(f"{RUNS}/{run['id']}/history", params=params), 422)


def test_a_replay_shows_the_run_as_of_each_event(shared_client: TestClient, run: Json):
    events = answered(shared_client.get(f"{RUNS}/{run['id']}/history"))["items"]
    moments = lines(shared_client, run)
    assert [moment["event"] for moment in moments] == events
    for moment in moments:
        assert moment["run"] == answered(shared_client.get(f"{RUNS}/{run['id']}", params={"at": moment["version"]}))
        assert (moment["version"], moment["at"]) == (moment["run"]["version"], moment["event"]["recorded_at"])
        for changed in moment["changed"]:
            assert changed == steps_of(shared_client, run, at=moment["version"])[moment["step"]]


def test_a_replay_tells_each_change_of_a_step_once(shared_client: TestClient, run: Json):
    told = [(one["name"], one["status"]) for moment in lines(shared_client, run) for one in moment["changed"]]
    # A step has a task, and is still pending, before it is enqueued.
    statuses = ["pending", "queued", "running", "completed"]
    assert [status for name, status in told if name == "a"] == statuses
    assert [status for name, status in told if name == "b"] == statuses


def test_a_part_is_replayed(shared_client: TestClient, run: Json):
    assert [moment["version"] for moment in lines(shared_client, run, **{"from": 3, "to": 6})] == [3, 4, 5, 6]
    assert lines(shared_client, run, **{"from": 3, "to": 6}) == lines(shared_client, run)[2:6]
    assert len(lines(shared_client, run, **{"from": run["version"], "to": 1_000})) == 1


@pytest.mark.parametrize(
    "params", [{"from": 5, "to": 4}, {"from": 12}, {"to": 0}, {"speed": -1}, {"speed": "inf"}, {"speed": "nan"}]
)
def test_a_replay_that_makes_no_sense_is_refused(shared_client: TestClient, run: Json, params: Json):
    answered(shared_client.get(f"{RUNS}/{run['id']}/replay", params=params), 422)


def test_a_replay_as_events_ends_with_one_that_says_so(shared_client: TestClient, run: Json):
    answer = shared_client.get(f"{RUNS}/{run['id']}/replay", headers=SSE)
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    assert answer.headers["X-Accel-Buffering"] == "no"
    *events, end = server_sent(answer.text)
    assert [json.loads(event["data"]) for event in events] == lines(shared_client, run)
    assert [event["id"] for event in events] == [str(version) for version in range(1, run["version"] + 1)]
    assert end["event"] == "end"


def test_a_replay_goes_on_behind_the_last_event_that_was_seen(shared_client: TestClient, run: Json):
    for seen, left in ((9, ["10", "11"]), (11, []), (99, [])):
        answer = shared_client.get(f"{RUNS}/{run['id']}/replay", headers={**SSE, "Last-Event-ID": str(seen)})
        *events, _ = server_sent(answer.text)
        assert [event["id"] for event in events] == left


def test_a_paced_replay_tells_the_same(shared_client: TestClient, run: Json):
    assert lines(shared_client, run, speed=1e9) == lines(shared_client, run)


def test_a_paced_replay_waits_until_the_server_ends(shared_client: TestClient, run: Json):
    async def so_slow_that_it_never_ends() -> list[bytes]:
        waiting = Waiting(services_of(shared_client).controller)
        pieces = replayed(services_of(shared_client), waiting, run["id"], 1, run["version"], 1e-9, LINES)
        told = [await anext(pieces) for _ in range(4)]  # those that were recorded in one commit
        rest = asyncio.create_task(_all(pieces))
        waiting.close()
        return told + await asyncio.wait_for(rest, 20)

    assert [json.loads(piece)["version"] for piece in asyncio.run(so_slow_that_it_never_ends())] == [1, 2, 3, 4]


def test_a_paced_replay_keeps_its_connection_open(
    shared_client: TestClient, run: Json, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("api.replay.PING_EVERY", 0.001)

    async def until_the_third_ping() -> list[bytes]:
        pieces = replayed(
            services_of(shared_client),
            Waiting(services_of(shared_client).controller),
            run["id"],
            1,
            run["version"],
            1e-9,
            EVENTS,
        )
        return [await anext(pieces) for _ in range(7)]

    assert asyncio.run(until_the_third_ping())[4:] == [b": ping\n\n"] * 3


async def _all(pieces: AsyncGenerator[bytes]) -> list[bytes]:
    return [piece async for piece in pieces]


def test_a_true_record_is_verified(shared_client: TestClient, run: Json):
    found = answered(shared_client.post(f"{RUNS}/{run['id']}/verify"))
    assert found == {
        "ok": True,
        "events": run["version"],
        "decisions": 3,
        "differences": [],
        "checked": ["events", "decisions", "work", "snapshots", "projections"],
    }


def test_a_large_run_is_kept_in_a_snapshot_which_is_verified_too(client: TestClient, services: Services):
    services.keeper.least = services.controller.state.large = 3  # events: this run is a large one
    services.keeper.asks_from = 1
    run = worked(client)
    table = Snapshots(services.store.database)
    data = wait_until(lambda: table.find(run["id"], code()), "a snapshot")
    assert answered(client.post(f"{RUNS}/{run['id']}/verify"))["differences"] == []
    assert data is not None
    kept = decode(data, services.reader.text)
    services.keeper.stop()
    table.keep(run["id"], kept.version, code(), encode(replace(kept, name="another")))
    [difference] = answered(client.post(f"{RUNS}/{run['id']}/verify"))["differences"]
    assert (difference["what"], difference["found"]) == ("snapshots", ["name"])
    assert Reader(services.store, services.keeper).run(run["id"]).name == "another", "it is opened from there"


@pytest.mark.parametrize(
    ("change", "where"),
    [
        pytest.param("UPDATE run_row SET name = 'x' WHERE id = '{run}'", "run_row {run}, name", id="a value"),
        pytest.param("DELETE FROM run_row WHERE id = '{run}'", "run_row {run}", id="a missing row"),
        pytest.param("INSERT INTO run_tag VALUES ('x', '{run}')", "run_tag x/{run}", id="a row too many"),
    ],
)
def test_a_wrong_row_of_a_list_is_found(client: TestClient, services: Services, change: str, where: str):
    run = worked(client)
    listed(client, "runs")
    with services.store.database.writing() as connection:
        connection.exec_driver_sql(change.format(run=run["id"]))
    found = answered(client.post(f"{RUNS}/{run['id']}/verify", json={}))
    assert not found["ok"]
    assert [(one["what"], one["where"]) for one in found["differences"]] == [
        ("projections", where.format(run=run["id"]))
    ]
    answered(client.post("/api/v1/projections/runs/rebuild"))
    assert answered(client.post(f"{RUNS}/{run['id']}/verify"))["ok"]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param("UPDATE event SET data = replace(data, 'iris #2', 'iris #3') WHERE {it}", id="another name"),
        pytest.param("UPDATE event SET data = 'no json' WHERE {it}", id="nothing that can be read"),
        pytest.param("UPDATE event SET type = 'RunMelted' WHERE {it}", id="an unknown type"),
    ],
)
def test_a_changed_event_is_found(client: TestClient, services: Services, change: str):
    run = worked(client)
    with services.store.database.writing() as connection:
        triggers = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'trigger'").scalars().all()
        for trigger in triggers:
            connection.exec_driver_sql(f"DROP TRIGGER {trigger}")
        connection.exec_driver_sql(change.format(it=f"run_id = '{run['id']}' AND run_version = 1"))
    found = answered(client.post(f"{RUNS}/{run['id']}/verify"))
    assert not found["ok"]
    assert found["differences"][0]["what"] == "events"
