"""A server's own process: what it leaves out to be ready soon changes nothing of what it says."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

ROOT = Path(__file__).parents[2]
STARTS = """
import gc, json, sys, warnings
from pathlib import Path

warnings.simplefilter("error")
from api import starting
starting.prepare()
from api.app import create_app
from api.services import open_services
from api.settings import Settings
from pydantic import BaseModel

app = create_app(open_services(Settings(data=Path(sys.argv[1]))))
starting.settle()

def models(base):
    return [one for model in base.__subclasses__() for one in (model, *models(model))]

built = [model for model in models(BaseModel) if model.__pydantic_complete__]
loaded = [name for name in sys.argv[2:] if sys.modules.get(name)]
looked_at = [route.path for route in app.routes if "dependant" in vars(route)]
print(json.dumps([loaded, len(built), gc.get_freeze_count(), app.openapi(), looked_at]))
"""
HEAVY = ["rich", "pydantic.v1", "psycopg", "alembic", "foldline", "schemathesis", "argon2"]


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    folder = tmp_path_factory.mktemp("data")
    done = subprocess.run(
        [sys.executable, "-c", STARTS, str(folder), *HEAVY], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_it_loads_nothing_that_it_may_never_need(started: list[Any]):
    assert started[0] == []


def test_it_builds_models_only_when_they_are_asked_for(started: list[Any]):
    assert started[1] < 20


def test_it_looks_at_routes_only_when_they_are_asked_for(started: list[Any]):
    assert started[4] == []


def test_the_collector_leaves_alone_what_stays(started: list[Any]):
    assert started[2] > 100_000


def test_it_is_described_as_in_every_other_process(started: list[Any], client: TestClient):
    assert started[3] == client.get("/api/v1/openapi.json").json()
