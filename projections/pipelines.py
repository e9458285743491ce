"""The list of pipelines, as domain.pipeline folds them."""

from collections.abc import Sequence

from sqlalchemy import Table

from domain.pipeline import PipelineRegistered, PipelineSubmitted
from projections.projection import Page, never_created
from projections.sheet import Desk
from projections.tables import pipeline_row

KINDS = (PipelineRegistered, PipelineSubmitted)


class Pipelines:
    name = "pipelines"
    version = 1
    tables: Sequence[Table] = (pipeline_row,)
    reads = frozenset[type](KINDS)

    def fold(self, page: Page, desk: Desk) -> None:
        rows = desk.load(pipeline_row.c.id, page.begun_before())
        for entry in page:
            row = rows.change(entry.id)
            if isinstance(entry.event, PipelineRegistered):
                rows.put(
                    {
                        "id": entry.id,
                        "position": row["position"] if row else entry.position,
                        "name": entry.event.name,
                        "project": entry.event.project,
                        "pipeline_version": entry.event.pipeline_version,
                        "definition": entry.event.definition,
                        "runs": row["runs"] if row else 0,
                        "registered_at": entry.at,
                    }
                )
            elif row is None:
                raise never_created(entry, "pipeline")
            elif isinstance(entry.event, PipelineSubmitted):
                row["runs"] = entry.event.number
