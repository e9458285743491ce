"""Runs: submitted, listed, told what to do; and looked at as they are or were."""

from typing import Annotated, Any, Literal

import msgspec
from fastapi import Header, Query, Request, Response

from api import routed, run_bodies, run_shapes
from api.addresses import RunId
from api.asking import WAIT_FOR_PROJECTION, Asking, Expected, Wired, caught_up, new_id, said
from api.at import At
from api.awaiting import LONGEST_WAIT, awaited
from api.bodies import Reason
from api.documented import problems
from api.listening import listening
from api.paging import ANY_OF, Cursor, Limit, Page, page
from api.run_reading import MADE_FROM, Trees, shown
from api.run_views import run_row_view, run_view
from api.services import Services
from api.templates import resolved_once
from api.wire import JsonResponse, etag
from controller.handle import Answer, By, Submission
from domain import run as runs
from domain.pipeline import Definition
from domain.refused import Invalid, Unknown
from projections import queries

router = routed.router("runs")

COMMAND = problems(400, 404, 409, 412, 413, 422)
After = Annotated[int | None, Query(ge=0, le=2**31 - 1, description="A run version: wait until the run is past it.")]
Wait = Annotated[float, Query(ge=0, le=LONGEST_WAIT, allow_inf_nan=False, description="Seconds to wait at most.")]


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
        cache=body.cache,
        host=None if body.host is None else body.host.held(),
    )
    try:
        answer = services.controller.submit_run(new_id(), submission, asking)
    except Unknown as unknown:
        raise Invalid(str(unknown), "pipeline_id") from None
    return _made(services, answer)


@router.post(
    "/runs/{run_id}/clone",
    status_code=201,
    response_model=run_shapes.Run,
    summary="Clone a run",
    responses=problems(400, 404, 413, 422),
)
def clone_run(run_id: RunId, body: run_bodies.CloneRun, services: Wired, asking: Asking) -> Response:
    """A draft of the same definition, as it was pinned."""
    answer = services.controller.clone_run(
        new_id(),
        run_id,
        asking,
        name=body.name,
        parameters=body.parameters,
        project=body.project,
        comment=body.comment,
        origin=body.origin,
    )
    return _made(services, answer)


@router.get(
    "/runs",
    response_model=Page[run_shapes.Run],
    summary="List runs, newest first",
    responses=problems(422),
    dependencies=[caught_up(*MADE_FROM)],
)
def list_runs(
    services: Wired,
    status: Annotated[list[run_shapes.RunStatus], ANY_OF],
    tag: Annotated[list[str], ANY_OF],
    project: str | None = None,
    name: str | None = None,
    pipeline_id: str | None = None,
    kind: Annotated[
        Literal["pipeline", "custom"] | None, Query(description="Custom: tasks whose processes made others.")
    ] = None,
    parent: Annotated[str | None, Query(description="The run that they are steps of.")] = None,
    origin: Annotated[str | None, Query(description="The task from inside whose process they were made.")] = None,
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
            kind=kind,
            parent=parent,
            origin=origin,
            limit=limit,
            cursor=cursor,
        )
    seen = listening(services)
    return JsonResponse(page([run_row_view(row, seen) for row in rows], following))


@router.get(
    "/runs/{run_id}",
    response_model=run_shapes.Run,
    summary="Show a run",
    responses={304: {"description": "It is as If-None-Match says."}, **problems(404, 422)},
)
async def get_run(
    request: Request,
    run_id: RunId,
    services: Wired,
    at: At = None,
    after: After = None,
    wait: Wait = 0.0,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """As of now, or as it was. With `after` and `wait` it answers once there is something new."""
    if at is not None and after is not None:
        raise Invalid("Nothing new comes to a past moment: give at or after, not both.", "after")

    def look() -> tuple[dict[str, Any], bool]:
        found = shown(services, run_id, at)
        return found, after is None or found["version"] > after

    run = await awaited(request, look, wait)
    headers = {"ETag": etag(run["version"])}
    if if_none_match is not None and _names(if_none_match, run["version"]) and not _depends_on_others(run):
        return Response(status_code=304, headers=headers)
    return JsonResponse(run, headers=headers)


@router.get(
    "/runs/{run_id}/tree",
    response_model=run_shapes.Tree,
    summary="Show a run with all that it is made of",
    responses=problems(404),
)
def get_run_tree(run_id: RunId, services: Wired) -> Response:
    """Its steps, the runs that some of them are, and what was made from inside its processes; nested."""
    services.projections.wait_for(services.store.head(), WAIT_FOR_PROJECTION, names=MADE_FROM)
    return JsonResponse(Trees(services).tree(run_id))


@router.get(
    "/runs/{run_id}/definition",
    response_model=run_shapes.Definition,
    summary="Show the definition that a run follows",
    responses=problems(404),
)
def get_run_definition(run_id: RunId, services: Wired) -> Response:
    """As it was pinned when the run was submitted."""
    return JsonResponse(definition_view(services.reader.run(run_id).plan.definition))


@router.patch(
    "/runs/{run_id}",
    response_model=run_shapes.Run,
    summary="Edit a run",
    responses=problems(400, 404, 412, 413, 422),
)
def edit_run(run_id: RunId, body: run_bodies.EditRun, services: Wired, asking: Asking, expect: Expected) -> Response:
    """What people call it and say about it, whatever its state."""
    return _tell(services, run_id, body.edited(), asking, expect)


@router.post("/runs/{run_id}/start", response_model=run_shapes.Run, summary="Start a draft", responses=COMMAND)
def start_run(
    run_id: RunId, services: Wired, asking: Asking, expect: Expected, body: run_bodies.StartRun | None = None
) -> Response:
    return _tell(services, run_id, runs.StartRun(queue=body.queue if body else None), asking, expect)


@router.post("/runs/{run_id}/pause", response_model=run_shapes.Run, summary="Pause a run", responses=COMMAND)
def pause_run(run_id: RunId, services: Wired, asking: Asking, expect: Expected, body: Reason | None = None) -> Response:
    """No step starts until it is resumed; what runs goes on."""
    command = runs.PauseRun(actor=asking.actor, reason=body.reason if body else "")
    return _tell(services, run_id, command, asking, expect)


@router.post("/runs/{run_id}/resume", response_model=run_shapes.Run, summary="Resume a run", responses=COMMAND)
def resume_run(
    run_id: RunId, services: Wired, asking: Asking, expect: Expected, body: Reason | None = None
) -> Response:
    command = runs.ResumeRun(actor=asking.actor, reason=body.reason if body else "")
    return _tell(services, run_id, command, asking, expect)


@router.post("/runs/{run_id}/stop", response_model=run_shapes.Run, summary="Stop a run", responses=COMMAND)
def stop_run(
    run_id: RunId, services: Wired, asking: Asking, expect: Expected, body: run_bodies.StopRun | None = None
) -> Response:
    """What waits is skipped; what runs is asked to stop and may save its work. The run ends when its last step has."""
    asked = body or run_bodies.StopRun()
    command = runs.StopRun(reason=asked.reason or f"stop requested by {asking.actor}", outcome=asked.outcome)
    return _tell(services, run_id, command, asking, expect)


def definition_view(definition: Definition) -> dict[str, Any]:
    return msgspec.to_builtins(definition)


def _tell(services: Services, run_id: str, command: runs.RunCommand, asking: By, expect: int | None) -> Response:
    return _as_of(services, services.controller.run(run_id, command, asking, expect=expect))


def _made(services: Services, answer: Answer) -> Response:
    response = _as_of(services, answer, 201)
    response.headers["Location"] = f"/api/v1/runs/{answer.id}"
    return response


def _as_of(services: Services, answer: Answer, status: int = 200) -> Response:
    """The run as the command left it: a repeat of the command gets the same answer, whatever has happened since."""
    run = services.reader.run(answer.id, at=answer.version)
    response = JsonResponse(run_view(run, listening(services)), status)
    said(response, answer)
    return response


def _depends_on_others(run: dict[str, Any]) -> bool:
    """Whether it may look otherwise without a new version: agents come and go, queues are paused, tasks go on."""
    waits = run["waiting_for"]
    return bool(run["kind"] == "custom" or run["warnings"] or (waits and waits["kind"] == "host"))


def _names(if_none_match: str, version: int) -> bool:
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return "*" in tags or etag(version) in tags
