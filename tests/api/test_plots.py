"""Plots by HTTP: reported, listed, and shown to a browser without running anything."""

import hashlib
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.support.by_hand import submitted
from tests.support.tasks import TASKS, made, started, told


@pytest.fixture
def client(shared_client: TestClient) -> TestClient:
    return shared_client


def stored(client: TestClient, content: bytes) -> str:
    sha256 = hashlib.sha256(content).hexdigest()
    assert client.put(f"/api/v1/blobs/{sha256}", content=content).is_success
    return sha256


def plot(**fields: Any) -> dict[str, Any]:
    body = {"title": "a/b", "series": "ü", "iteration": 3, "kind": "image", "filename": "my sample.png"}
    return body | fields


def listed(client: TestClient, task: dict[str, Any], **asked: Any) -> list[dict[str, Any]]:
    return client.get(f"{TASKS}/{task['id']}/plots", params=asked).json()["items"]


def test_a_plot_is_named_once_its_bytes_are_stored_and_viewed_where_the_list_says(client: TestClient):
    task, png = made(client), b"\x89PNG and so on"
    address = f"{TASKS}/{task['id']}/plots"
    missing = client.post(address, json=plot(sha256="0d" * 32))
    assert missing.status_code == 422
    assert "store its bytes first" in missing.json()["detail"]
    sha256 = stored(client, png)
    answer = client.post(address, json=plot(sha256=sha256))
    assert answer.status_code == 201
    shown = answer.json()
    assert shown | {"reported_at": ""} == {
        **plot(sha256=sha256),
        "url": f"foldline://blobs/{sha256}/my%20sample.png",
        "size": len(png),
        "reported_at": "",
        "content_url": f"/api/v1/blobs/{sha256}/my_sample.png",
    }
    assert listed(client, task) == [shown]
    viewed = client.get(shown["content_url"])
    assert (viewed.content, viewed.headers["Content-Type"]) == (png, "image/png")


def test_a_plot_reported_again_takes_the_older_ones_place_and_only_so_many_are_kept(client: TestClient):
    task = made(client)
    for iteration in (1, 2, 3, 3):
        body = plot(iteration=iteration, url=f"s3://bucket/{iteration}", keep=2)
        assert client.post(f"{TASKS}/{task['id']}/plots", json=body).status_code == 201
    found = listed(client, task)
    assert [(one["iteration"], one["url"]) for one in found] == [(2, "s3://bucket/2"), (3, "s3://bucket/3")]
    assert [(one["sha256"], one["size"], one["content_url"]) for one in found] == [(None, None, None)] * 2


def test_plots_are_listed_page_by_page_and_by_what_is_asked_for(client: TestClient):
    task, long = made(client), "\N{SNOWMAN}" * 255
    for title, kind in [("b", "table"), (long, "image"), ("a", "plotly")]:
        body = plot(title=title, series=long, kind=kind, url="x:y")
        assert client.post(f"{TASKS}/{task['id']}/plots", json=body).status_code == 201
    assert [one["title"] for one in listed(client, task)] == ["a", "b", long]
    assert [one["title"] for one in listed(client, task, kind="table")] == ["b"]
    assert [one["title"] for one in listed(client, task, title=long, series=long)] == [long]
    assert listed(client, task, series="x") == []
    seen: list[str] = []
    cursor = None
    while len(seen) < 3:
        asked = {"limit": 1, **({"cursor": cursor} if cursor else {})}
        answer = client.get(f"{TASKS}/{task['id']}/plots", params=asked).json()
        seen, cursor = [*seen, answer["items"][0]["title"]], answer["next_cursor"]
    assert (seen, cursor) == (["a", "b", long], None)


@pytest.mark.parametrize("cursor", ["x", "é", "e30=", "WyJhIiwiYiIsMWU5OV0=", "WyJhXHUwMDAwIiwiYiIsMV0="])
def test_a_cursor_that_no_list_gave_is_refused(client: TestClient, cursor: str):
    answer = client.get(f"{TASKS}/{made(client)['id']}/plots", params={"cursor": cursor})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(plot(), id="neither blob nor url"),
        pytest.param(plot(url="x:y", sha256="0" * 64), id="both"),
        pytest.param(plot(url="x:y", kind="drawing"), id="no kind of plot"),
        pytest.param(plot(url="x:y", title=""), id="no title"),
        pytest.param(plot(url="x:y", keep=0), id="none is kept"),
        pytest.param(plot(url="x:y", iteration=2**63), id="too late"),
    ],
)
def test_a_plot_that_makes_no_sense_is_refused(client: TestClient, body: dict[str, Any]):
    assert client.post(f"{TASKS}/{made(client)['id']}/plots", json=body).status_code == 422


def test_an_attempt_that_is_over_reports_nothing_more(client: TestClient):
    task = told(client, started(client), "fail")
    point = {"title": "loss", "series": "train", "iteration": 1, "value": 0.5}
    reports = {"plots": plot(url="x:y", attempt=1), "scalars": {"points": [point], "attempt": 1}}
    for what, body in reports.items():
        # The attempt that was the last one may still send what it had collected.
        assert client.post(f"{TASKS}/{task['id']}/{what}", json=body).is_success
    told(client, task, "start", session="77" * 16)
    for what, body in reports.items():
        answer = client.post(f"{TASKS}/{task['id']}/{what}", json=body)
        assert (answer.status_code, answer.json()["code"]) == (409, "refused")
        assert client.post(f"{TASKS}/{task['id']}/{what}", json=body | {"attempt": 2}).is_success


def test_a_run_has_reports_too(client: TestClient):
    run = submitted(client)
    assert client.post(f"{TASKS}/{run['id']}/plots", json=plot(url="x:y")).status_code == 201
    assert [one["url"] for one in listed(client, run)] == ["x:y"]
    point = {"title": "loss", "series": "train", "iteration": 1, "value": 0.5}
    assert client.post(f"{TASKS}/{run['id']}/scalars", json={"points": [point]}).status_code == 204
    assert client.get(f"{TASKS}/{run['id']}/scalars").json()["last"]["loss"]["train"]["last"] == 0.5


@pytest.mark.parametrize(
    ("filename", "kind", "disposition"),
    [
        ("a.png", "image/png", "inline"),
        ("a.JPG", "image/jpeg", "inline"),
        ("film.mp4", "video/mp4", "inline"),
        ("sound.wav", "audio/wav", "inline"),
        ("figure.json", "application/json", "inline"),
        ("page.html", "text/html; charset=utf-8", "inline"),
        ("drawing.svg", "image/svg+xml", "inline"),
        ("model.pkl", "application/octet-stream", "attachment"),
        ("html", "text/html; charset=utf-8", "inline"),
    ],
)
def test_a_blob_is_viewed_as_its_name_says_with_nobodys_rights(
    client: TestClient, filename: str, kind: str, disposition: str
):
    sha256 = stored(client, b"<script>alert(1)</script>")
    answer = client.get(f"/api/v1/blobs/{sha256}/{filename}")
    assert (answer.status_code, answer.content) == (200, b"<script>alert(1)</script>")
    assert answer.headers["Content-Type"] == kind
    assert answer.headers["Content-Disposition"] == f"{disposition}; filename*=UTF-8''{filename}"
    assert answer.headers["Content-Security-Policy"] == "sandbox"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_a_film_is_viewed_from_its_middle(client: TestClient):
    address = f"/api/v1/blobs/{stored(client, b'0123456789')}/film.mp4"
    part = client.get(address, headers={"Range": "bytes=4-"})
    assert (part.status_code, part.content, part.headers["Content-Range"]) == (206, b"456789", "bytes 4-9/10")
    assert client.get(address, headers={"Range": "bytes=10-"}).status_code == 416


@pytest.mark.parametrize(
    ("kind", "filename", "name"),
    [
        ("html", "", "page.html"),
        ("media", "", "file"),
        ("image", "../../x?.png", "_.._x_.png"),
        ("image", "bild ü.png", "bild_%C3%BC.png"),
    ],
)
def test_whatever_a_plot_is_called_its_address_can_be_asked(client: TestClient, kind: str, filename: str, name: str):
    task, sha256 = made(client), stored(client, b"x")
    body = plot(kind=kind, filename=filename, sha256=sha256)
    address = client.post(f"{TASKS}/{task['id']}/plots", json=body).json()["content_url"]
    assert address == f"/api/v1/blobs/{sha256}/{name}"
    assert client.get(address).content == b"x"


def test_all_curves_come_at_once_with_their_times(client: TestClient):
    task = made(client)
    address = f"{TASKS}/{task['id']}/scalars"
    points = [{"title": "loss", "series": "train", "iteration": n, "value": n / 2, "ago": 60.0 - n} for n in range(4)]
    points.append({"title": "Summary", "series": "best", "iteration": -(2**31), "value": 1.0})
    assert client.post(address, json={"points": points}).status_code == 204
    shown = client.get(address, params={"samples": 0}).json()
    assert set(shown["last"]) == {"Summary", "loss"}
    curve = shown["curves"].pop("loss")["train"]
    assert shown["curves"] == {}
    assert (curve["iterations"], curve["values"]) == ([0, 1, 2, 3], [0.0, 0.5, 1.0, 1.5])
    assert curve["times"] == sorted(curve["times"])
    thinned = client.get(address, params={"samples": 2}).json()["curves"]["loss"]["train"]
    assert (thinned["iterations"], thinned["values"]) == ([1, 3], [0.25, 1.25])
    assert client.get(address, params={"samples": -1}).status_code == 422


def test_the_end_of_a_log_is_read_without_its_beginning(client: TestClient):
    task = started(client)
    address = f"{TASKS}/{task['id']}/logs"
    assert client.post(address, params={"attempt": 1, "offset": 0}, content=b"0123456789").is_success
    end = client.get(address, params={"tail": 4})
    assert (end.content, end.headers["Foldline-Next-Offset"]) == (b"6789", "10")
    assert client.get(address, params={"tail": 40}).content == b"0123456789"
    assert client.get(f"{TASKS}/{made(client)['id']}/logs", params={"tail": 4}).content == b""
