"""What the routes have in common, and when the framework looks at them: at each when it is first asked for."""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Depends
from fastapi.routing import APIRoute
from starlette.routing import compile_path

from api.asking import actor_of
from api.documented import problems

BASE = "/api/v1"


class LateRoute(APIRoute):
    """A route known by its address alone, until it is asked for or described.

    What the framework finds out about parameters and models takes, for all routes, as long as a good part of the
    server's start; and for most of them nobody asks.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **told: Any) -> None:
        self.path, self.endpoint = path, endpoint
        self.methods = set(told["methods"])
        self.path_regex, self.path_format, self.param_convertors = compile_path(path)
        self._told = told

    def __getattr__(self, name: str) -> Any:
        # Python asks here for what is not there: all that the framework makes of what it was told.
        told = self.__dict__.pop("_told", None)
        if told is None:
            raise AttributeError(f"a route has no {name}")
        super().__init__(self.path, self.endpoint, **told)
        return getattr(self, name)


def router(tag: str, prefix: str = "") -> APIRouter:
    """Of a part of the API: who asks is known before a route is run."""
    return _router(tag, prefix=BASE + prefix, dependencies=[Depends(actor_of)], responses=problems(401, 503))


def open_router(tag: str) -> APIRouter:
    """Beside the API: whoever asks, unless a route minds."""
    return _router(tag)


def _router(tag: str, **told: Any) -> APIRouter:
    return APIRouter(tags=[tag], route_class=LateRoute, generate_unique_id_function=lambda route: route.name, **told)
