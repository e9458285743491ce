"""How many requests there were, of which kind, how long they took; and how many more are let in."""

from time import perf_counter

from anyio.to_thread import current_default_thread_limiter
from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import problem
from api.routed import BASE
from eventstore.measures import Histogram

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# Upper bounds in seconds; polls and streams last as long as somebody listens.
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
# Requests that wait for a thread, of which there are 40: a second or two of work. Without a bound they would wait
# until their senders have given up, and be done all the same.
MOST_WAITING = 1_000


class Requests:
    """Of one application, counted by its event loop alone. A route is the pattern of its address, "" is none."""

    def __init__(self) -> None:
        self.in_progress = 0
        self.turned_away = 0
        self.by_status: dict[tuple[str, str, int], int] = {}
        """By method, route and status."""
        self.seconds: dict[tuple[str, str], Histogram] = {}
        """By method and route: to the end of the answer."""

    def add(self, method: str, route: str, status: int, seconds: float) -> None:
        asked = method, route
        self.by_status[*asked, status] = self.by_status.get((*asked, status), 0) + 1
        histogram = self.seconds.get(asked)
        if histogram is None:
            histogram = self.seconds[asked] = Histogram(SECONDS)
        histogram.add(seconds)


class Counting:
    """ASGI middleware, the outermost: counts every request, and turns away what would only wait."""

    def __init__(self, app: ASGIApp, requests: Requests) -> None:
        self._app, self._requests = app, requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        requests, began, status = self._requests, perf_counter(), 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        requests.in_progress += 1
        try:
            if self._is_too_much(scope["path"]):
                await _busy(scope, receive, noted)
            else:
                await self._app(scope, receive, noted)
        finally:
            requests.in_progress -= 1
            method = scope["method"] if scope["method"] in METHODS else "other"
            route: str = getattr(scope.get("route"), "path", "")
            requests.add(method, route.removeprefix(BASE), status, perf_counter() - began)

    def _is_too_much(self, path: str) -> bool:
        # Most of those in progress may be asleep in a poll: only when there are many is it worth to ask how many wait.
        if self._requests.in_progress <= MOST_WAITING or not path.startswith("/api/"):
            return False
        # An agent whose heartbeat is turned away would be taken for lost.
        if path.endswith("/heartbeat") or current_default_thread_limiter().statistics().tasks_waiting < MOST_WAITING:
            return False
        self._requests.turned_away += 1
        return True


async def _busy(scope: Scope, receive: Receive, send: Send) -> None:
    said = f"The server is asked for more than it can do: {MOST_WAITING:,} requests wait. Try again in a moment."
    answer = problem(Request(scope), 503, "busy", said, headers={"Retry-After": "1"})
    await answer(scope, receive, send)
