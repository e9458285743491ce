"""The application: routes wired to services. Nothing happens on import; who calls `create_app` owns the services."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from api import errors
from api.desk import Desk
from api.documented import describe
from api.express import Express
from api.gate import Gate
from api.limits import Limits
from api.live import Bells
from api.requests import Counting, Requests
from api.routes import (
    admin,
    agents,
    artifacts,
    audit,
    blobs,
    events,
    health,
    history,
    hooks,
    logs,
    metrics,
    models,
    pipelines,
    plots,
    projections,
    queues,
    runs,
    scalars,
    steps,
    tasks,
    whoami,
)
from api.services import Services
from api.version import VERSION
from api.waiting import Waiting


def create_app(services: Services) -> FastAPI:
    """The app over `services`, which its lifespan starts and closes."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        waiting = app.state.waiting = Waiting(services.controller)
        desk = app.state.desk = Desk()
        bells = app.state.bells = Bells(services.controller.signals)
        try:
            await run_in_threadpool(services.start)
            yield
        finally:
            waiting.close()
            bells.close()
            desk.close()
            await run_in_threadpool(services.close)

    app = FastAPI(
        title="Foldline",
        version=VERSION,
        summary="Pipelines of tasks as state machines on an event log.",
        lifespan=lifespan,
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    app.state.services = services
    errors.install(app)
    app.add_middleware(Limits, settings=services.settings)
    app.add_middleware(Express, services=services)
    app.add_middleware(Gate, services=services)
    app.state.requests = Requests()
    app.add_middleware(Counting, requests=app.state.requests)
    of_tasks = (tasks, artifacts, logs, scalars, plots, blobs)
    of_runs = (pipelines, runs, steps, hooks, history)
    others = (queues, agents, events, projections, audit, whoami, admin)
    for part in (health, metrics, *of_tasks, models, *of_runs, *others):
        # Not by the framework's way to include a router, which would look at every route a second time.
        app.router.routes += part.router.routes
    app.openapi = lambda: describe(app)
    return app
