"""The scalars that a run shows: those reported to it, and those of its steps that it shows as its own."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

from api.services import Services
from domain.run import Run
from eventstore.scalars import Sample, Summary

T = TypeVar("T")
ByName = dict[str, dict[str, T]]  # {title: {series: value}}


class Source(NamedTuple):
    task_id: str
    title: str
    series: str
    shown_title: str
    shown_series: str


class Monitored:
    """Read by the id of a task or run. What was reported to the run itself goes before what its steps have reported."""

    def __init__(self, services: Services, task_id: str) -> None:
        self._scalars, self._id = services.scalars, task_id
        self._sources: Sequence[Source] = ()
        if services.reader.is_run(task_id):
            self._sources = sources(services.reader.run(task_id))

    def last(self) -> ByName[Summary]:
        known = {task_id: self._scalars.last(task_id) for task_id in {source.task_id for source in self._sources}}
        return self._merged(self._scalars.last(self._id), known)

    def curves(self, most: int | None) -> ByName[Sequence[Sample]]:
        known = {task_id: self._scalars.curves(task_id, most) for task_id in {one.task_id for one in self._sources}}
        return self._merged(self._scalars.curves(self._id, most), known)

    def points(self, title: str, series: str) -> Sequence[tuple[int, float | None]]:
        if own := self._scalars.points(self._id, title, series):
            return own
        for source in self._sources:
            if (source.shown_title, source.shown_series) == (title, series) and (
                found := self._scalars.points(source.task_id, source.title, source.series)
            ):
                return found
        return own

    def _merged(self, own: ByName[T], known: Mapping[str, ByName[T]]) -> ByName[T]:
        merged = {title: dict(of) for title, of in own.items()}
        for source in self._sources:
            value = known[source.task_id].get(source.title, {}).get(source.series)
            if value is not None:
                merged.setdefault(source.shown_title, {}).setdefault(source.shown_series, value)
        return merged


def sources(run: Run) -> list[Source]:
    """What the run's steps monitor, as far as they have their tasks."""
    found: list[Source] = []
    for name in run.plan.names:  # in the order of definition, also where they were added one by one
        task_id = run.step(name).task_id
        if task_id is not None:
            found += [Source(task_id, *names) for names in run.plan.steps[name].monitor_metrics]
    return found
