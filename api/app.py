"""The application: routes wired to services. Nothing happens on import; who calls `create_app` owns the services."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI
from starlette.concurrency import run_in_threadpool

from api import errors
from api.asking import actor_of
from api.documented import describe, problems
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
        bells = app.state.bells = Bells(services.controller.signals)
        try:
            await run_in_threadpool(services.start)
            yield
        finally:
            waiting.close()
            bells.close()
            await run_in_threadpool(services.close)

    app = FastAPI(
        title="Foldline",
        version=VERSION,
        summary="Pipelines of tasks as state machines on an event log.",
        lifespan=lifespan,
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.services = services
    errors.install(app)
    app.add_middleware(Limits, settings=services.settings)
    app.add_middleware(Gate, services=services)
    app.state.requests = Requests()
    app.add_middleware(Counting, requests=app.state.requests)
    app.include_router(health.router)
    app.include_router(metrics.router)
    of_tasks = (tasks, artifacts, logs, scalars, plots, blobs)
    of_runs = (pipelines, runs, steps, hooks, history)
    for part in (*of_tasks, models, *of_runs, queues, agents, events, projections, audit, whoami, admin):
        router = part.router
        app.include_router(router, prefix="/api/v1", dependencies=[Depends(actor_of)], responses=problems(401, 503))
    app.router.routes.insert(0, Express(services, app.router))
    app.openapi = lambda: describe(app)
    return app
