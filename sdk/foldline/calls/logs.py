"""Logs of an attempt: appended by offset, read by offset, followed live."""

import json
from collections.abc import Iterator

from foldline.calls.base import Calls, given, part
from foldline.live import follow


class Logs(Calls):
    def append(self, identifier: str, data: bytes, *, attempt: int, offset: int) -> int:
        response = self._client.request(
            "POST",
            f"tasks/{part(identifier)}/logs",
            content=data,
            params={"attempt": attempt, "offset": offset},
            headers={"Content-Type": "application/octet-stream"},
        )
        return int(response.json()["offset"])

    def read(self, identifier: str, *, attempt: int | None, offset: int, limit: int) -> tuple[bytes, int]:
        params = given(attempt=attempt, offset=offset, limit=limit)
        response = self._client.request("GET", f"tasks/{part(identifier)}/logs", params=params)
        after = response.headers.get("Foldline-Next-Offset")
        return response.content, int(after) if after else offset + len(response.content)

    def tail(self, identifier: str, size: int) -> tuple[bytes, int]:
        response = self._client.request("GET", f"tasks/{part(identifier)}/logs", params={"tail": size})
        return response.content, int(response.headers["Foldline-Next-Offset"])

    def follow(self, identifier: str, *, attempt: int | None, offset: int) -> Iterator[str]:
        def params(reached: str) -> dict[str, object]:
            return given(attempt=attempt, offset=int(reached))

        for event in follow(self._client, f"tasks/{part(identifier)}/logs", params, str(offset)):
            if event.data and event.event != "end":
                yield str(json.loads(event.data)["text"])
