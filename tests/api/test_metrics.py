"""What the server counts, as Prometheus reads it."""

import re
from typing import Any, NoReturn

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

import api.tokens
from api.services import Services
from eventstore.store import StoreUnavailable
from tests.support.by_hand import Agent, listed, submitted
from tests.support.house import ROOT

Metrics = dict[tuple[str, tuple[str, ...]], float]


def metrics(client: TestClient, **headers: str) -> Metrics:
    """The samples by name and the values of their labels, in the order of the labels' names."""
    answer = client.get("/metrics", headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    return {
        (sample.name, tuple(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_the_path_of_a_step_is_counted(client: TestClient, services: Services):
    agent = Agent(client)
    run = submitted(client)
    assert agent.works() == ["only"]
    listed(client, "runs")
    found = metrics(client)
    head = services.store.head()
    assert found["foldline_log_position", ("0",)] == found["foldline_events_total", ("0",)] == head
    assert found["foldline_append_seconds_count", ("0",)] == found["foldline_commit_commands_sum", ("0",)] > 5
    for name in ("append", "decide", "commit"):
        assert found[f"foldline_{name}_seconds_sum", ("0",)] > 0
        assert (
            found[f"foldline_{name}_seconds_bucket", ("+Inf", "0")] == found[f"foldline_{name}_seconds_count", ("0",)]
        )
    assert found["foldline_claim_seconds_count", ()] == 1
    assert 0 < found["foldline_claim_seconds_sum", ()] < 60
    assert found["foldline_projection_lag_events", ("runs", "0")] == 0
    assert found["foldline_leases_held", ("agent",)] == 1
    assert found["foldline_leases_held", ("task",)] == 0
    assert found["foldline_agents", ("online",)] == 1
    assert found["foldline_ready", ()] == 1
    assert found["foldline_wal_bytes", ()] > 0
    assert client.get(f"/api/v1/runs/{run['id']}").is_success
    assert metrics(client)["foldline_http_requests_total", ("GET", "/runs/{run_id}", "200")] == 1
    assert metrics(client)["foldline_http_request_seconds_count", ("GET", "/metrics")] == 2


def test_what_waits_and_who_was_lost_is_counted(client: TestClient, services: Services):
    submitted(client)
    submitted(client)
    assert metrics(client)["foldline_queue_length", ("default",)] == 2
    agent = Agent(client)
    agent.exchange(free=1)
    found = metrics(client)
    assert found["foldline_queue_length", ("default",)] == 1
    assert found["foldline_leases_held", ("task",)] == 1
    services.loop.expired += 1
    assert metrics(client)["foldline_leases_expired_total", ()] == 1


def test_an_address_that_nobody_has_makes_no_new_row(client: TestClient):
    for path in ("/nowhere", "/elsewhere"):
        client.get(path)
    client.request("BREW", "/pot")
    found = metrics(client)
    assert found["foldline_http_requests_total", ("GET", "", "404")] == 2
    assert found["foldline_http_requests_total", ("other", "", "404")] == 1


def test_every_metric_is_on_the_page_and_every_one_on_the_page_is_there(client: TestClient):
    told = {family.name for family in text_string_to_metric_families(client.get("/metrics").text)}
    page = set(re.findall(r"`(foldline_\w+)`", (ROOT / "docs" / "operations.md").read_text()))
    assert {name.removesuffix("_total") for name in page} == {name for name in told if name.startswith("foldline_")}


def away(*arguments: Any, **options: Any) -> NoReturn:
    raise StoreUnavailable("connection refused")


@pytest.mark.parametrize("token", [True, False])
def test_they_are_told_while_the_database_is_away_to_who_might_see_them_before(
    client: TestClient, services: Services, monkeypatch: pytest.MonkeyPatch, token: bool
):
    headers: dict[str, str] = {}
    if token:
        headers["Authorization"] = f"Bearer {services.tokens.create('ana', 1)}"
    assert metrics(client, **headers)["foldline_ready", ()] == 1
    monkeypatch.setattr(api.tokens, "FRESH_FOR", -1.0)
    for name in ("appending", "fetch", "reading", "writing"):
        monkeypatch.setattr(services.store.database, name, away)
    monkeypatch.setattr(services.store, "head", away)
    found = metrics(client, **headers)
    assert found["foldline_ready", ()] == 0
    assert found["foldline_events_total", ("0",)] == 2
    assert ("foldline_log_position", ("0",)) not in found
    other = {"Authorization": "Bearer fl_wrong"} if token else {"Origin": "https://elsewhere.example"}
    assert client.get("/metrics", headers=other).status_code == (503 if token else 401)
