"""Lists of the API as iterators: pages are fetched as the items are asked for."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from foldline.client import Client

Json = dict[str, Any]

PAGE = 200


class Listing:
    """The items of one list, newest or oldest first as the server says. Iterate it, or take one `page()`."""

    def __init__(
        self, client: "Client", path: str, params: Mapping[str, Any] | None = None, limit: int | None = None
    ) -> None:
        self._client = client
        self._path = path
        self._params = dict(params or {})
        self._limit = limit

    def __iter__(self) -> Iterator[Json]:
        left, cursor = self._limit, None
        while left is None or left > 0:
            page = self.page(cursor, PAGE if left is None else min(left, PAGE))
            yield from page["items"]
            cursor = page.get("next_cursor")
            # The events' list always has a next cursor: its end is an empty page.
            if cursor is None or not page["items"]:
                return
            left = None if left is None else left - len(page["items"])

    def page(self, cursor: str | None = None, size: int | None = None) -> Json:
        """One page as the server sent it: {"items": [...], "next_cursor": ...}."""
        asked = {**self._params, "limit": size, "cursor": cursor, "min_position": self._client.position}
        return self._client.request("GET", self._path, params=asked).json()

    def first(self) -> Json | None:
        """The first item, or None."""
        return next(iter(self.page(size=1)["items"]), None)
