"""What a run asks the process that runs its pipeline's own Python, and what that answers."""

from fastapi import Request, Response

from api import routed, run_bodies, run_shapes
from api.addresses import RunId
from api.asking import Asking, Wired, said
from api.awaiting import awaited
from api.documented import problems
from api.routes.runs import Wait
from api.run_views import hooks_view
from api.wire import JsonResponse
from domain.lifecycle import RUN_ENDED
from domain.run import Run

router = routed.router("runs")


@router.get(
    "/runs/{run_id}/hooks",
    response_model=run_shapes.Hooks,
    summary="List the questions that a run's host has not answered",
    responses=problems(404, 422),
)
async def list_hooks(request: Request, run_id: RunId, services: Wired, wait: Wait = 0.0) -> Response:
    """In the order in which they were asked. With `wait` it answers once there is one, or the run has ended."""

    def look() -> tuple[Run, bool]:
        run = services.reader.run(run_id)
        return run, bool(run.hooks) or run.status in RUN_ENDED

    run = await awaited(request, look, wait)
    return JsonResponse({"items": hooks_view(run), "status": run.status, "version": run.version})


@router.post(
    "/runs/{run_id}/hooks/{hook}",
    response_model=run_shapes.Accepted,
    summary="Answer a question",
    responses=problems(400, 404, 409, 413, 422),
)
def answer_hook(run_id: RunId, hook: str, body: run_bodies.AnswerHook, services: Wired, asking: Asking) -> Response:
    """409 when it is not open any more, or the attempt is not the run's host any more."""
    answer = services.controller.run(run_id, body.command(hook), asking)
    response = JsonResponse({"id": hook, "accepted": True})
    said(response, answer)
    return response
