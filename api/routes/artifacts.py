"""What tasks bring forth: artifacts and models, named on the task once their bytes are stored."""

from fastapi import APIRouter, Response

from api import bodies, shapes
from api.addresses import TaskId
from api.asking import Asking, Expected, Wired, said
from api.documented import problems
from api.paging import Page, page
from api.routes.tasks import COMMAND, present_view
from api.services import Services
from api.views import artifact_view, model_view
from api.wire import JsonResponse
from domain.refused import Invalid

router = APIRouter(tags=["tasks"])


@router.get(
    "/tasks/{task_id}/artifacts",
    response_model=Page[shapes.Artifact],
    summary="List a task's artifacts",
    responses=problems(404),
)
def list_artifacts(task_id: TaskId, services: Wired) -> Response:
    """All of them, in the order in which they were first added."""
    return JsonResponse(page(list(present_view(services, task_id)["artifacts"].values())))


@router.post(
    "/tasks/{task_id}/artifacts",
    status_code=201,
    response_model=shapes.Artifact,
    summary="Add an artifact",
    responses=COMMAND,
)
def add_artifact(
    task_id: TaskId, body: bodies.AddArtifact, services: Wired, asking: Asking, expect: Expected
) -> Response:
    """Its bytes are stored already: as a blob, or elsewhere. One of the same name takes the older one's place."""
    command = body.added(_size_of_blob(services, body.sha256))
    answer = services.controller.task(task_id, command, asking, expect=expect)
    artifact = services.reader.task(task_id, upto=answer.version).artifacts[body.name]
    response = JsonResponse(artifact_view(artifact), 201)
    said(response, answer)
    return response


@router.post(
    "/tasks/{task_id}/models", status_code=201, response_model=shapes.Model, summary="Add a model", responses=COMMAND
)
def add_model(task_id: TaskId, body: bodies.AddModel, services: Wired, asking: Asking, expect: Expected) -> Response:
    """A model that the task reads (`input`) or has made (`output`); its bytes are stored elsewhere."""
    answer = services.controller.task(task_id, body.added(), asking, expect=expect)
    response = JsonResponse(model_view(services.reader.task(task_id, upto=answer.version).models[-1]), 201)
    said(response, answer)
    return response


def _size_of_blob(services: Services, sha256: str | None) -> int | None:
    if sha256 is None:
        return None
    try:
        return services.blobs.size(sha256)
    except FileNotFoundError:
        raise Invalid(
            f"There is no blob {sha256}: store its bytes first, PUT /api/v1/blobs/{sha256}.", "sha256"
        ) from None
