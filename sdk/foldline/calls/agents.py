"""Agents: the one door through which work goes out and reports come in."""

from collections.abc import Mapping, Sequence
from typing import Any

from foldline.calls.base import Calls, part
from foldline.listing import Json, Listing


class Agents(Calls):
    """What an agent says about itself is repeated all the time, so nothing here is retried by the client."""

    def register(
        self,
        *,
        name: str,
        session: str,
        queues: Sequence[str],
        slots: int,
        services: bool,
        host: str,
        pid: int,
        version: str,
    ) -> Json:
        """{"id", "session", "lease", "heartbeat"}. Raises Invalid for an unknown queue."""
        body = {
            "name": name,
            "session": session,
            "queues": list(queues),
            "slots": slots,
            "services": services,
            "host": host,
            "pid": pid,
            "version": version,
        }
        return self._post("agents", body)

    def exchange(
        self,
        identifier: str,
        *,
        session: str,
        held: Sequence[Mapping[str, Any]],
        reports: Sequence[Mapping[str, Any]],
        free: int,
        wait: float,
    ) -> Json:
        """{"claims", "stop", "reports"}. Refused (`session-superseded`) when a newer session exists."""
        body = {"session": session, "held": list(held), "reports": list(reports), "free": free, "wait": wait}
        path = f"agents/{part(identifier)}/exchange"
        return self._post(path, body, timeout=wait + 15.0, idempotent=False)

    def heartbeat(self, identifier: str, *, session: str, held: Sequence[Mapping[str, Any]]) -> Json:
        body = {"session": session, "held": list(held)}
        return self._post(f"agents/{part(identifier)}/heartbeat", body, timeout=5.0, idempotent=False)

    def leave(self, identifier: str, *, session: str, reports: Sequence[Mapping[str, Any]]) -> Json:
        """The agent ends; what it still held is lost at once."""
        body = {"session": session, "reports": list(reports)}
        return self._post(f"agents/{part(identifier)}/leave", body)

    def list(self, limit: int | None = None) -> Listing:
        return self._list("agents", limit)

    def get(self, identifier: str) -> Json:
        return self._get(f"agents/{part(identifier)}")
