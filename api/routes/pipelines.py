"""Pipelines: definitions that are registered by project and name, to be run again and again."""

from typing import Any

from fastapi import Response

from api import routed, run_shapes
from api.addresses import PipelineId
from api.asking import Asking, Wired, caught_up, said
from api.definitions import PipelineDefinition
from api.documented import problems
from api.paging import Cursor, Limit, Page, page, with_times
from api.routes.runs import definition_view
from api.services import Services
from api.templates import resolved_once
from api.wire import JsonResponse, time_text
from domain.pipeline import Pipeline
from projections import queries

router = routed.router("pipelines")


@router.post(
    "/pipelines",
    status_code=201,
    response_model=run_shapes.Pipeline,
    summary="Register a pipeline",
    responses=problems(400, 413, 422),
)
def register_pipeline(body: PipelineDefinition, services: Wired, asking: Asking) -> Response:
    """It is known by its project and name; a definition that has changed becomes its next version."""
    definition = resolved_once(services, body.definition(), asking)
    answer = services.controller.register_pipeline(definition, asking)
    response = JsonResponse(_view(services, services.reader.pipeline(answer.id, upto=answer.version)), 201)
    said(response, answer)
    response.headers["Location"] = f"/api/v1/pipelines/{answer.id}"
    return response


@router.get(
    "/pipelines",
    response_model=Page[run_shapes.PipelineRow],
    summary="List pipelines, newest first",
    responses=problems(422),
    dependencies=[caught_up("pipelines")],
)
def list_pipelines(
    services: Wired,
    project: str | None = None,
    name: str | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    with services.store.database.reading() as connection:
        rows, following = queries.pipelines(connection, project=project, name=name, limit=limit, cursor=cursor)
    shown = run_shapes.PipelineRow.model_fields
    items = [{field: value for field, value in with_times(row).items() if field in shown} for row in rows]
    return JsonResponse(page(items, following))


@router.get(
    "/pipelines/{pipeline_id}",
    response_model=run_shapes.Pipeline,
    summary="Show a pipeline with its newest definition",
    responses=problems(404),
)
def get_pipeline(pipeline_id: PipelineId, services: Wired) -> Response:
    return JsonResponse(_view(services, services.reader.pipeline(pipeline_id)))


def _view(services: Services, pipeline: Pipeline) -> dict[str, Any]:
    return {
        "id": pipeline.id,
        "name": pipeline.name,
        "project": pipeline.project,
        "version": pipeline.pipeline_version,
        "definition": definition_view(services.reader.definition(pipeline)),
        "runs": pipeline.runs,
        "registered_at": time_text(pipeline.registered_at),
    }
