"""How many requests are let in: what would only wait for a thread is told to come again."""

import asyncio
import threading
from typing import Any

import pytest
from anyio.to_thread import current_default_thread_limiter
from starlette.concurrency import run_in_threadpool
from starlette.types import Message, Receive, Scope, Send

import api.requests
from api.requests import Counting, Requests


async def asked(app: Counting, path: str) -> dict[str, Any]:
    """The start of the answer."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": []}
    await app({**scope, "server": ("127.0.0.1", 80), "scheme": "http"}, receive, send)
    return dict(sent[0])


def test_what_would_only_wait_is_told_to_come_again(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(api.requests, "MOST_WAITING", 2)
    go_on = threading.Event()
    requests = Requests()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        assert await run_in_threadpool(go_on.wait, 20)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def busy_server() -> None:
        app = Counting(slow, requests)
        threads = current_default_thread_limiter()
        threads.total_tokens = 1
        let_in = [asyncio.create_task(asked(app, "/api/v1/tasks")) for _ in range(3)]
        async with asyncio.timeout(20):
            while threads.statistics().tasks_waiting < 2:
                await asyncio.sleep(0)
        refused = await asked(app, "/api/v1/tasks")
        assert (refused["status"], dict(refused["headers"])[b"retry-after"]) == (503, b"1")
        # An agent that cannot say that it lives would be taken for lost; and who asks how the server is shall know.
        let_in += [asyncio.create_task(asked(app, path)) for path in ("/api/v1/agents/a/heartbeat", "/readyz")]
        while requests.in_progress < 5:
            await asyncio.sleep(0)
        go_on.set()
        assert [answer["status"] for answer in await asyncio.gather(*let_in)] == [200] * 5

    asyncio.run(busy_server())
    assert (requests.in_progress, requests.turned_away) == (0, 1)
    assert requests.by_status == {("POST", "", 200): 5, ("POST", "", 503): 1}


def test_a_request_that_fails_is_counted_as_our_mistake():
    async def mistaken(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError

    requests = Requests()
    with pytest.raises(RuntimeError):
        asyncio.run(asked(Counting(mistaken, requests), "/api/v1/tasks"))
    assert requests.by_status == {("POST", "", 500): 1}
    assert requests.in_progress == 0
