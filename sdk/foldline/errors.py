"""What can go wrong, as one hierarchy. `str(error)` is a sentence for the person who reads it."""

from collections.abc import Mapping
from typing import Any


class FoldlineError(Exception):
    """Anything this package reports of its own accord."""


class ConnectionFailed(FoldlineError):
    """No answer came from the server for as long as the client had patience."""


class TimedOut(FoldlineError, TimeoutError):
    """What was waited for has not come within the time given."""


class NotSupported(FoldlineError, NotImplementedError):
    """A parameter that this version knows by name but cannot honour."""


class DefinitionError(FoldlineError, ValueError):
    """A pipeline, task or value that cannot be described to the server as it stands."""


class ApiError(FoldlineError):
    """The server answered no. `problem` is its `application/problem+json` document, as sent."""

    def __init__(self, problem: Mapping[str, Any]) -> None:
        self.problem = dict(problem)
        self.status = int(problem.get("status") or 0)
        self.code = str(problem.get("code") or "")
        self.detail = str(problem.get("detail") or problem.get("title") or f"the server answered {self.status}")
        self.errors: list[dict[str, Any]] = list(problem.get("errors") or [])
        self.instance = str(problem.get("instance") or "")
        super().__init__(_sentence(self.detail, self.errors))

    def __reduce__(self) -> tuple[type["ApiError"], tuple[dict[str, Any]]]:
        return type(self), (self.problem,)


class NotFound(ApiError):
    """404: no such thing."""


class Refused(ApiError):
    """409: the state it is in does not allow the command."""


class StaleVersion(ApiError):
    """412: somebody changed it since it was read (If-Match)."""


class Invalid(ApiError, ValueError):
    """400 or 422: what was sent cannot be understood or does not hold together."""


class Unauthorized(ApiError):
    """401 or 403: the token is missing, wrong, or not allowed to do this."""


class TooLarge(ApiError):
    """413: more than the server takes in one piece."""


class Unavailable(ApiError):
    """502, 503 or 504: the server is there but cannot answer now."""


_BY_STATUS: dict[int, type[ApiError]] = {
    400: Invalid,
    401: Unauthorized,
    403: Unauthorized,
    404: NotFound,
    409: Refused,
    412: StaleVersion,
    413: TooLarge,
    422: Invalid,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}


def error_for(status: int, problem: Mapping[str, Any]) -> ApiError:
    """The error that stands for an answer of this status."""
    return _BY_STATUS.get(status, ApiError)({**problem, "status": status})


def _sentence(detail: str, errors: list[dict[str, Any]]) -> str:
    said = [
        f"{error['location']}: {error['message']}" if error.get("location") else str(error["message"])
        for error in errors
        if error.get("message") and str(error["message"]) not in detail
    ]
    return f"{detail} ({'; '.join(said)})" if said else detail
