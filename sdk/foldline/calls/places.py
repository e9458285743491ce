"""Pipelines, queues and projections: nouns with little to say."""

from collections.abc import Mapping
from typing import Any

from foldline.calls.base import Calls, part
from foldline.listing import Json, Listing


class Pipelines(Calls):
    def register(self, definition: Mapping[str, Any]) -> Json:
        return self._post("pipelines", definition)

    def list(self, *, project: str | None = None, name: str | None = None, limit: int | None = None) -> Listing:
        return self._list("pipelines", limit, project=project, name=name)

    def get(self, identifier: str) -> Json:
        return self._get(f"pipelines/{part(identifier)}")


class Queues(Calls):
    def create(self, name: str) -> Json:
        return self._post("queues", {"name": name})

    def list(self, limit: int | None = None) -> Listing:
        return self._list("queues", limit)

    def get(self, name: str) -> Json:
        return self._get(f"queues/{part(name)}")

    def pause(self, name: str, reason: str = "") -> Json:
        """Nothing is handed out from the queue until it is resumed; what runs goes on."""
        return self._post(f"queues/{part(name)}/pause", {"reason": reason})

    def resume(self, name: str, reason: str = "") -> Json:
        return self._post(f"queues/{part(name)}/resume", {"reason": reason})


class Projections(Calls):
    def list(self) -> list[Json]:
        """Each with its position, the head of the log and its lag."""
        return self._get("projections")["items"]

    def rebuild(self, name: str) -> None:
        """Throw the projection's rows away and make them again from the log."""
        self._client.request("POST", f"projections/{part(name)}/rebuild", json={}, timeout=600.0)
