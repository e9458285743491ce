"""What the nouns have in common."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from foldline.listing import Json, Listing

if TYPE_CHECKING:
    from foldline.client import Client


class Calls:
    """Requests about one noun, over the connection of `client`."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def _get(self, path: str, params: Mapping[str, Any] | None = None) -> Json:
        return self._client.request("GET", path, params=params).json()

    def _post(self, path: str, body: Mapping[str, Any] | None = None, **options: Any) -> Json:
        return self._client.request("POST", path, json=dict(body or {}), **options).json()

    def _list(self, path: str, limit: int | None = None, **params: Any) -> Listing:
        return Listing(self._client, path, params, limit)


def part(value: str) -> str:
    """`value` as one segment of a path, whatever characters it has."""
    return quote(value, safe="")


def given(**fields: Any) -> Json:
    """The fields that were given: None means "as the server would have it"."""
    return {name: value for name, value in fields.items() if value is not None}
