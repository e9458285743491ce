"""What the generated description says of errors: which ones a route can answer, and what is in them."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, ConfigDict, Field

from api.errors import TITLES, TYPE

MEDIA_TYPE = "application/problem+json"
_REFERENCE = {"$ref": "#/components/schemas/Problem"}
_CAUSES: dict[int, tuple[str, ...]] = {
    400: ("malformed",),
    401: ("unauthorized",),
    403: ("forbidden",),
    404: ("not-found",),
    409: ("refused", "session-superseded", "log-gap", "diverged"),
    412: ("stale-version",),
    413: ("too-large",),
    416: ("no-such-range",),
    422: ("invalid", "key-reused"),
    503: ("not-ready", "busy", "projection-behind"),
}


class ProblemError(BaseModel):
    location: str = Field(description="A path into the request, such as steps/2/parents/0.")
    message: str


class ProblemBody(BaseModel):
    """An error, as application/problem+json (RFC 9457)."""

    model_config = ConfigDict(
        title="Problem",
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "type": f"{TYPE}not-found",
                    "code": "not-found",
                    "title": TITLES["not-found"],
                    "status": 404,
                    "detail": "There is no task 0123456789abcdef0123456789abcdef.",
                    "instance": "/api/v1/tasks/0123456789abcdef0123456789abcdef",
                    "errors": [],
                }
            ]
        },
    )

    type: str
    code: str = Field(description="Stable: for programs to decide by.")
    title: str
    status: int
    detail: str = Field(description="A sentence with the cure.")
    instance: str
    errors: list[ProblemError]


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that can answer these errors."""
    return {
        status: {
            "description": f"{' or '.join(_CAUSES[status])}: {TITLES[_CAUSES[status][0]]}.",
            "content": {MEDIA_TYPE: {"schema": _REFERENCE}},
        }
        for status in statuses
    }


def describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI description, made once: `app.openapi` is to call this."""
    if app.openapi_schema is None:
        described = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
        schemas = described.setdefault("components", {}).setdefault("schemas", {})
        made = ProblemBody.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= {**made.pop("$defs"), "Problem": made}
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        for path in described["paths"].values():
            for operation in path.values():
                _drop_what_the_framework_guessed(operation)
        app.openapi_schema = described
    return app.openapi_schema


def _drop_what_the_framework_guessed(operation: dict[str, Any]) -> None:
    """FastAPI adds a 422 to every route with a parameter, in a shape of its own; ours say what they answer."""
    guessed = operation["responses"].get("422", {}).get("content", {})
    if "application/json" in guessed:
        del operation["responses"]["422"]
