"""Projections by HTTP: how far they are, and made anew."""

import pytest
from starlette.testclient import TestClient

from api.services import Services
from api.wire import position_text
from eventstore.store import NewEvent, append
from projections.all import PROJECTIONS as KEPT
from tests.support.by_hand import answered, listed, submitted

PROJECTIONS = "/api/v1/projections"


def test_projections_keep_up_with_the_log(client: TestClient):
    submitted(client)
    listed(client, "runs")
    rows = answered(client.get(PROJECTIONS))["items"]
    assert [row["name"] for row in rows] == [one.name for one in KEPT]
    assert {(row["lag_events"], row["lag_seconds"], row["error"]) for row in rows} == {(0, 0.0, None)}
    assert {row["position"] for row in rows} == {rows[0]["head"]}


def test_a_projection_that_does_not_keep_up_says_how_far_it_is_behind(client: TestClient, services: Services):
    services.projections.stop()
    submitted(client)
    row = answered(client.get(PROJECTIONS))["items"][0]
    assert (
        row["lag_events"] == 6
    )  # the pipeline registered and counted, the run, its start, its step's task, its enqueueing
    assert row["lag_seconds"] > 0
    assert row["position"] != row["head"]


def test_a_wrong_row_is_gone_after_a_rebuild(client: TestClient, services: Services):
    run = submitted(client)
    listed(client, "runs")
    with services.store.database.writing() as connection:
        connection.exec_driver_sql("UPDATE run_row SET name = 'wrong'")
    assert [row["name"] for row in listed(client, "runs")] == ["wrong"]
    rebuilt = answered(client.post(f"{PROJECTIONS}/runs/rebuild"))
    assert (rebuilt["name"], rebuilt["rebuilt"], rebuilt["lag_events"]) == ("runs", True, 0)
    assert [row["name"] for row in listed(client, "runs")] == [run["name"]]


def test_a_rebuild_that_takes_long_goes_on_by_itself(
    client: TestClient, services: Services, monkeypatch: pytest.MonkeyPatch
):
    def goes_on(name: str, timeout: float) -> None:
        raise TimeoutError

    monkeypatch.setattr(services.projections, "rebuild", goes_on)
    assert answered(client.post(f"{PROJECTIONS}/runs/rebuild"))["rebuilt"] is False


def test_an_unknown_projection_is_not_found(client: TestClient):
    problem = answered(client.post(f"{PROJECTIONS}/nothing/rebuild"), 404)
    assert "tasks, runs, queues" in problem["detail"]


def test_a_rebuild_that_meets_what_it_cannot_read_keeps_the_old_rows(client: TestClient, services: Services):
    run = submitted(client)
    listed(client, "runs")
    append(services.store, [NewEvent(stream="task-x", type="TaskMelted", data="{}")]).result()
    problem = answered(client.post(f"{PROJECTIONS}/runs/rebuild"), 409)
    assert "TaskMelted" in problem["detail"]
    assert [row["id"] for row in answered(client.get("/api/v1/runs"))["items"]] == [run["id"]]
    assert "TaskMelted" in answered(client.get(PROJECTIONS))["items"][1]["error"]


def test_a_list_waits_for_its_own_projections_only(client: TestClient, services: Services):
    run = submitted(client)
    listed(client, "queues")
    services.loop.stop()  # it would meet the event, too
    append(services.store, [NewEvent(stream="queue-x", type="QueueCreated", data="[]")]).result()
    assert [row["id"] for row in listed(client, "runs")] == [run["id"]]
    for kind, items in (("tasks", 1), ("pipelines", 1), ("models", 0), ("agents", 0)):
        assert len(listed(client, kind)) == items
    head = position_text(services.store.head())
    problem = answered(client.get("/api/v1/queues", params={"min_position": head}), 503)
    assert problem["code"] == "projection-behind"
    assert "projection queues stopped before event" in problem["detail"]
    assert problem["detail"].endswith("make it anew: foldline-server rebuild queues.")
    assert [row["name"] for row in answered(client.get("/api/v1/queues"))["items"]] == ["default", "services"]
