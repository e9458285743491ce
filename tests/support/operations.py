"""The operations of the API as its description has them, and requests made of what the description says."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.testclient import TestClient

# What stands for a name in an address, when nothing of that name is to exist.
NOBODY = {"sha256": "nowhere", "name": "nowhere"}
NOBODYS_ID = "0" * 32


@dataclass(frozen=True, slots=True)
class Operation:
    name: str
    method: str
    path: str
    statuses: frozenset[int]
    example: Any  # of its body, None when it takes none or no JSON
    takes_json: bool
    takes_bytes: bool
    parameters: tuple[Mapping[str, Any], ...]

    def ask(self, client: TestClient, ids: Mapping[str, str] | None = None, **how: Any) -> Any:
        """A request that makes sense; `ids` are put into the address, `how` replaces parts of the request."""
        asked: dict[str, Any] = {"params": self._required()}
        if self.takes_json:
            asked["json"] = self.example
        elif self.takes_bytes:
            asked["content"] = b"hello"
        if "content" in how:
            asked.pop("json", None)
        return client.request(self.method, self._address(ids or {}), **{**asked, **how})

    def names_in_path(self) -> list[str]:
        return re.findall(r"\{(\w+)\}", self.path)

    def _address(self, ids: Mapping[str, str]) -> str:
        def filled(found: re.Match[str]) -> str:
            return ids.get(found[1]) or NOBODY.get(found[1], NOBODYS_ID)

        return re.sub(r"\{(\w+)\}", filled, self.path)

    def _required(self) -> dict[str, int]:
        queried = [one for one in self.parameters if one["in"] == "query" and one.get("required")]
        return {one["name"]: 1 for one in queried}


def operations_of(client: TestClient) -> list[Operation]:
    description = client.get("/api/v1/openapi.json").json()
    return list(_operations(description))


def _operations(description: dict[str, Any]) -> Iterator[Operation]:
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            content = operation.get("requestBody", {}).get("content", {})
            yield Operation(
                name=operation["operationId"],
                method=method.upper(),
                path=path,
                statuses=frozenset(int(status) for status in operation["responses"]),
                example=_example(description, content.get("application/json", {}).get("schema", {})),
                takes_json="application/json" in content,
                takes_bytes="application/octet-stream" in content,
                parameters=tuple(operation.get("parameters", ())),
            )


def _example(description: dict[str, Any], schema: dict[str, Any]) -> Any:
    """The example of a body, which may also be left out; an empty object where none is given."""
    for one in schema.get("anyOf", [schema]):
        if "$ref" in one:
            found = description["components"]["schemas"][one["$ref"].rpartition("/")[2]]
            return found.get("examples", [{}])[0]
    return {}
