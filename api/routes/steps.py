"""The steps of a run: looked at, judged by people, and added by the code of a dynamic pipeline."""

from typing import Annotated

from fastapi import Depends, Path, Response

from api import routed, run_bodies, run_shapes
from api.addresses import RunId
from api.asking import Asking, Expected, Wired, said
from api.at import At
from api.bodies import Reason
from api.documented import problems
from api.listening import listening
from api.paging import Cursor, Limit, Page, page
from api.routes.artifacts import size_of_blob
from api.run_reading import custom_steps, run_at
from api.run_views import step_view
from api.services import Services
from api.wire import JsonResponse, etag
from controller.handle import Answer, By
from domain import run as runs
from domain.refused import Invalid, Unknown

router = routed.router("runs")

COMMAND = problems(400, 404, 409, 412, 413, 422)


async def _step_name(step: Annotated[str, Path(description="It may hold slashes.", examples=["train"])]) -> str:
    return step


StepName = Annotated[str, Depends(_step_name)]


@router.get(
    "/runs/{run_id}/steps",
    response_model=Page[run_shapes.Step],
    summary="List a run's steps in the order of definition",
    responses=problems(404, 422),
)
def list_steps(run_id: RunId, services: Wired, at: At = None, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """As they are now, or as they were. Of a custom run: the tasks and runs that it made, in the order it made them."""
    try:
        run = run_at(services, run_id, at)
    except Unknown as unknown:
        try:
            return JsonResponse(page(*custom_steps(services, run_id, limit, cursor)))
        except Unknown:
            raise unknown from None
    seen = None if at is not None else listening(services)
    start = _index(cursor)
    items = [step_view(run, name, seen) for name in run.plan.names[start : start + limit]]
    return JsonResponse(page(items, str(start + limit) if start + limit < len(run.plan.names) else None))


@router.post(
    "/runs/{run_id}/steps",
    status_code=201,
    response_model=run_shapes.Step,
    summary="Add a step to a dynamic run",
    responses={
        200: {"model": run_shapes.Step, "description": "The call is on record: the step as it is."},
        **problems(400, 404, 409, 413, 422),
    },
)
def add_step(run_id: RunId, body: run_bodies.AddStep, services: Wired, asking: Asking) -> Response:
    """Each call of a component by the run's host, by number: after a restart the same calls get the same steps."""
    is_repeat = asking.command_id is not None and services.store.command(asking.command_id)
    on_record = not is_repeat and body.call < len(services.reader.run(run_id).calls)
    answer = services.controller.run(run_id, body.command(), asking)
    name = services.reader.run(run_id, at=answer.version).calls[body.call]
    return _as_of(services, answer, name, 200 if on_record else 201)


@router.get(
    "/runs/{run_id}/steps/{step:path}",
    response_model=run_shapes.Step,
    summary="Show a step",
    responses=problems(404),
)
def get_step(run_id: RunId, step: StepName, services: Wired) -> Response:
    run = services.reader.run(run_id)
    if step not in run.plan.steps:
        raise Unknown(f"Run {run.name!r} has no step {step!r}.")
    return JsonResponse(step_view(run, step, listening(services)), headers={"ETag": etag(run.version)})


@router.post(
    "/runs/{run_id}/steps/{step:path}/approve", response_model=run_shapes.Step, summary="Approve", responses=COMMAND
)
def approve_step(
    run_id: RunId, step: StepName, services: Wired, asking: Asking, expect: Expected, body: Reason | None = None
) -> Response:
    """Say yes to a step that waits for it: it goes on."""
    command = runs.ApproveStep(step=step, actor=asking.actor, reason=body.reason if body else "")
    return _tell(services, run_id, step, command, asking, expect)


@router.post(
    "/runs/{run_id}/steps/{step:path}/reject", response_model=run_shapes.Step, summary="Reject", responses=COMMAND
)
def reject_step(
    run_id: RunId, step: StepName, services: Wired, asking: Asking, expect: Expected, body: Reason | None = None
) -> Response:
    """Say no to a step that waits for a yes: it fails."""
    command = runs.RejectStep(step=step, actor=asking.actor, reason=body.reason if body else "")
    return _tell(services, run_id, step, command, asking, expect)


@router.post(
    "/runs/{run_id}/steps/{step:path}/retry",
    response_model=run_shapes.Step,
    summary="Run a step again",
    responses=COMMAND,
)
def retry_step(
    run_id: RunId, step: StepName, services: Wired, asking: Asking, expect: Expected, body: Reason | None = None
) -> Response:
    """One that failed or was stopped, and those that were skipped because of it; the run goes on."""
    command = runs.RetryStep(step=step, actor=asking.actor, reason=body.reason if body else "")
    return _tell(services, run_id, step, command, asking, expect)


@router.post(
    "/runs/{run_id}/steps/{step:path}/complete",
    response_model=run_shapes.Step,
    summary="Take a step as completed",
    responses=COMMAND,
)
def complete_step(
    run_id: RunId,
    step: StepName,
    services: Wired,
    asking: Asking,
    expect: Expected,
    body: run_bodies.CompleteStep | None = None,
) -> Response:
    """With these results, though its task did not run or went wrong; the steps after it go on."""
    asked = body or run_bodies.CompleteStep(outputs={})
    command = asked.command(step, asking.actor, lambda sha256: size_of_blob(services, sha256))
    return _tell(services, run_id, step, command, asking, expect)


def _tell(
    services: Services, run_id: str, step: str, command: runs.RunCommand, asking: By, expect: int | None
) -> Response:
    return _as_of(services, services.controller.run(run_id, command, asking, expect=expect), step)


def _as_of(services: Services, answer: Answer, step: str, status: int = 200) -> Response:
    """The step as the command left it: a repeat gets the same answer, whatever has happened since."""
    run = services.reader.run(answer.id, at=answer.version)
    response = JsonResponse(step_view(run, step, listening(services)), status)
    said(response, answer)
    return response


def _index(cursor: str | None) -> int:
    if cursor is None:
        return 0
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 10):
        raise Invalid("This cursor is not one that the list has given: leave it out to begin anew.", "cursor")
    return int(cursor)
