"""A route is looked at when it is first asked for, and is then like every other."""

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.testclient import TestClient

from api.routed import LateRoute


def double(number: int) -> int:
    """Twice as much."""
    return 2 * number


@pytest.fixture
def route() -> LateRoute:
    app = FastAPI()
    app.router.route_class = LateRoute
    app.get("/twice/{number}", summary="Double it")(double)
    [found] = [route for route in app.routes if isinstance(route, LateRoute)]
    return found


def test_it_is_looked_at_when_it_is_asked_for(route: LateRoute):
    app = FastAPI(routes=[route])
    client = TestClient(app)
    assert client.get("/elsewhere").status_code == 404
    assert "dependant" not in vars(route)
    assert (client.get("/twice/4").json(), client.get("/twice/four").status_code) == (8, 422)
    assert "dependant" in vars(route)


def test_another_method_is_not_allowed_though_nobody_has_looked_at_it(route: LateRoute):
    answer = TestClient(FastAPI(routes=[route])).post("/twice/4")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET")


def test_it_is_what_the_framework_makes_at_once(route: LateRoute):
    at_once = APIRoute("/twice/{number}", double, methods=["GET"], summary="Double it")
    assert (route.summary, route.description, route.name) == ("Double it", "Twice as much.", "double")
    assert [field.name for field in route.dependant.path_params] == ["number"]
    assert (vars(route).keys() ^ vars(at_once).keys()) == set()
    assert (route.path_format, route.methods) == (at_once.path_format, at_once.methods)


def test_what_no_route_has_it_has_not_either(route: LateRoute):
    assert not hasattr(route, "length")
    assert not hasattr(route, "length")
