"""What tasks bring forth: artifacts and models, named on the task once their bytes are stored."""

from collections.abc import Sequence

from fastapi import Response

from api import bodies, routed, shapes
from api.addresses import TaskId
from api.asking import Asking, Expected, Wired, said
from api.controllers import asked_of, task_of
from api.documented import problems
from api.paging import Page, page
from api.routes.tasks import COMMAND, as_of, present_view
from api.services import Services
from api.views import artifact_view, model_view
from api.wire import JsonResponse
from controller.handle import Answer, By
from domain.refused import Invalid
from domain.task import ArtifactAdded, ModelAdded, RemoveArtifacts

router = routed.router("tasks")


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
    answer = _tell(services, task_id, body.added(size_of_blob(services, body.blob)), asking, expect)
    artifact = task_of(services.reader, task_id, answer.version).artifacts[body.name]
    response = JsonResponse(artifact_view(artifact), 201)
    said(response, answer)
    return response


@router.post(
    "/tasks/{task_id}/artifacts/delete", response_model=shapes.Task, summary="Remove artifacts", responses=COMMAND
)
def remove_artifacts(
    task_id: TaskId, body: bodies.RemoveArtifacts, services: Wired, asking: Asking, expect: Expected
) -> Response:
    """All of them or none. The task names them no more; their bytes stay: others may share them, and history does."""
    command = RemoveArtifacts(names=body.names, attempt=body.attempt)
    return as_of(services, _tell(services, task_id, command, asking, expect))


@router.post(
    "/tasks/{task_id}/models", status_code=201, response_model=shapes.Model, summary="Add a model", responses=COMMAND
)
def add_model(task_id: TaskId, body: bodies.AddModel, services: Wired, asking: Asking, expect: Expected) -> Response:
    """A model that the task reads (`input`) or has made (`output`); its bytes are stored elsewhere.

    One of the same id takes the older one's place: that is how a model is changed, published and archived.
    """
    command = body.added(task_of(services.reader, task_id).project)
    answer = _tell(services, task_id, command, asking, expect)
    models = task_of(services.reader, task_id, answer.version).models
    # Without an id it is new, and new ones come last; a repeat of the request finds it there too.
    model = models[-1] if body.id is None else _named(models, body.id, body.kind)
    response = JsonResponse(model_view(model), 201)
    said(response, answer)
    return response


def _tell(
    services: Services,
    task_id: str,
    command: ArtifactAdded | RemoveArtifacts | ModelAdded,
    asking: By,
    expect: int | None,
) -> Answer:
    """To the task, or to the run of this id."""
    controller = services.controller
    return asked_of(
        services,
        task_id,
        lambda: controller.task(task_id, command, asking, expect=expect),
        lambda: controller.run(task_id, command, asking, expect=expect),
    )


def _named(models: Sequence[ModelAdded], identifier: str, kind: str) -> ModelAdded:
    return next(model for model in models if (model.id, model.kind) == (identifier, kind))


def size_of_blob(services: Services, sha256: str | None) -> int | None:
    """In bytes; None when there is no blob to have a size. Raises Invalid when it is not stored."""
    if sha256 is None:
        return None
    try:
        return services.blobs.size(sha256)
    except FileNotFoundError:
        raise Invalid(
            f"There is no blob {sha256}: store its bytes first, PUT /api/v1/blobs/{sha256}.", "sha256"
        ) from None
