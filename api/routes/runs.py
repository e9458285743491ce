"""Runs: submitted, listed, told what to do; and looked at as they are or were."""

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Header, Response

from api import run_bodies, run_shapes
from api.addresses import RunId
from api.asking import Asking, CaughtUp, Expected, Wired, new_id, said
from api.at import At, version_at
from api.bodies import Nothing
from api.documented import problems
from api.listening import heard_queues, warnings
from api.paging import ANY_OF, Cursor, Limit, Page, page, with_times
from api.services import Services
from api.templates import resolved_once
from api.views import run_view, step_view
from api.wire import JsonResponse, etag
from controller.handle import Answer, Submission
from domain import run as runs
from domain.pipeline import Definition
from domain.refused import Invalid, Unknown
from domain.run import Run
from projections import queries

router = APIRouter(tags=["runs"])


@router.post(
    "/runs",
    status_code=201,
    response_model=run_shapes.Run,
    summary="Submit a run",
    responses=problems(400, 413, 422),
)
def submit_run(body: run_bodies.SubmitRun, services: Wired, asking: Asking) -> Response:
    """Everything it will need is pinned: templates that are edited later affect later runs. It starts at once."""
    if (body.definition is None) == (body.pipeline_id is None):
        raise Invalid("Give either a definition or the pipeline_id of a registered pipeline.", "definition")
    submission = Submission(
        definition=None if body.definition is None else resolved_once(services, body.definition.definition(), asking),
        pipeline_id=body.pipeline_id,
        parameters=body.parameters,
        name=body.name,
        draft=body.draft,
        queue=body.queue,
        tags=body.tags,
        origin=body.origin,
    )
    try:
        answer = services.controller.submit_run(new_id(), submission, asking)
    except Unknown as unknown:
        raise Invalid(str(unknown), "pipeline_id") from None
    response = _as_of(services, answer, 201)
    response.headers["Location"] = f"/api/v1/runs/{answer.id}"
    return response


@router.get("/runs", response_model=Page[run_shapes.Run], summary="List runs, newest first", responses=problems(422))
def list_runs(
    services: Wired,
    _: CaughtUp,
    status: Annotated[list[run_shapes.RunStatus], ANY_OF],
    tag: Annotated[list[str], ANY_OF],
    project: str | None = None,
    name: str | None = None,
    pipeline_id: str | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    with services.store.database.reading() as connection:
        rows, following = queries.runs(
            connection,
            statuses=status,
            project=project,
            name=name,
            tags=tag,
            pipeline_id=pipeline_id,
            limit=limit,
            cursor=cursor,
        )
    return JsonResponse(page([with_times(row) for row in rows], following))


@router.get(
    "/runs/{run_id}",
    response_model=run_shapes.Run,
    summary="Show a run",
    responses={304: {"description": "It is as If-None-Match says."}, **problems(404, 422)},
)
def get_run(
    run_id: RunId, services: Wired, at: At = None, if_none_match: Annotated[str | None, Header()] = None
) -> Response:
    """As of now, or as it was."""
    run = _run(services, run_id, at)
    said_now = [] if at is not None else warnings(run, heard_queues(services))
    headers = {"ETag": etag(run.version)}
    # Agents come and go without a new version of the run: who would be warned must not be told that nothing changed.
    if not said_now and if_none_match is not None and _names(if_none_match, run.version):
        return Response(status_code=304, headers=headers)
    return JsonResponse(run_view(run, said_now), headers=headers)


@router.get(
    "/runs/{run_id}/steps",
    response_model=Page[run_shapes.Step],
    summary="List a run's steps in the order of definition",
    responses=problems(404, 422),
)
def list_steps(run_id: RunId, services: Wired, at: At = None, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """As they are now, or as they were."""
    run = _run(services, run_id, at)
    heard = heard_queues(services)
    steps = run.plan.definition.steps
    start = _index(cursor)
    shown = [
        step_view(run, step.name, None if at is not None else lambda queue: queue not in heard)
        for step in steps[start : start + limit]
    ]
    return JsonResponse(page(shown, str(start + limit) if start + limit < len(steps) else None))


@router.get(
    "/runs/{run_id}/definition",
    response_model=run_shapes.Definition,
    summary="Show the definition that a run follows",
    responses=problems(404),
)
def get_run_definition(run_id: RunId, services: Wired) -> Response:
    """As it was pinned when the run was submitted."""
    return JsonResponse(definition_view(services.reader.run(run_id).plan.definition))


@router.post(
    "/runs/{run_id}/start",
    response_model=run_shapes.Run,
    summary="Start a draft",
    responses=problems(400, 404, 409, 412, 413, 422),
)
def start_run(
    run_id: RunId, services: Wired, asking: Asking, expect: Expected, body: Nothing | None = None
) -> Response:
    return _as_of(services, services.controller.run(run_id, runs.StartRun(), asking, expect=expect))


@router.post(
    "/runs/{run_id}/stop",
    response_model=run_shapes.Run,
    summary="Stop a run",
    responses=problems(400, 404, 409, 412, 413, 422),
)
def stop_run(
    run_id: RunId, services: Wired, asking: Asking, expect: Expected, body: run_bodies.StopRun | None = None
) -> Response:
    """What waits is skipped; what runs is asked to stop and may save its work. The run ends when its last step has."""
    asked = body or run_bodies.StopRun()
    command = runs.StopRun(reason=asked.reason or f"stop requested by {asking.actor}", outcome=asked.outcome)
    return _as_of(services, services.controller.run(run_id, command, asking, expect=expect))


def definition_view(definition: Definition) -> dict[str, Any]:
    return msgspec.to_builtins(definition)


def _run(services: Services, run_id: str, at: str | None) -> Run:
    version = None if at is None else version_at(services.reader, services.store, run_id, at)
    return services.reader.run(run_id, at=version)


def _as_of(services: Services, answer: Answer, status: int = 200) -> Response:
    """The run as the command left it: a repeat of the command gets the same answer, whatever has happened since."""
    run = services.reader.run(answer.id, at=answer.version)
    response = JsonResponse(run_view(run, warnings(run, heard_queues(services))), status)
    said(response, answer)
    return response


def _names(if_none_match: str, version: int) -> bool:
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return "*" in tags or etag(version) in tags


def _index(cursor: str | None) -> int:
    if cursor is None:
        return 0
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 10):
        raise Invalid("This cursor is not one that the list has given: leave it out to begin anew.", "cursor")
    return int(cursor)
