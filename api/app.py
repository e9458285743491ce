"""The application: routes wired to services. Nothing happens on import; whoever calls `create_app` owns the services."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI
from starlette.concurrency import run_in_threadpool

from api import errors
from api.asking import actor_of
from api.limits import Limits
from api.routes import agents, blobs, events, health, pipelines, projections, queues, runs, tasks
from api.services import Services
from api.waiting import Waiting

VERSION = "0.1.0"


def create_app(services: Services) -> FastAPI:
    """The app over `services`, which its lifespan starts and closes."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        waiting = app.state.waiting = Waiting(services.controller.signals)
        await run_in_threadpool(services.start)
        try:
            yield
        finally:
            waiting.close()
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
    app.include_router(health.router)
    for part in (tasks, blobs, pipelines, runs, queues, agents, events, projections):
        app.include_router(part.router, prefix="/api/v1", dependencies=[Depends(actor_of)])
    return app
