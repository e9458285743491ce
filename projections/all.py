"""The projections that this program keeps."""

from collections.abc import Sequence

from projections.agents import Agents
from projections.models import Models
from projections.origins import Origins
from projections.pipelines import Pipelines
from projections.projection import Projection
from projections.queues import Queues
from projections.runs import Runs
from projections.tasks import Tasks
from projections.timeline import Timeline

PROJECTIONS: Sequence[Projection] = (
    Tasks(),
    Runs(),
    Queues(),
    Agents(),
    Pipelines(),
    Timeline(),
    Models(),
    Origins(),
)
