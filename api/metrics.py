"""What the server counts, for Prometheus. Read when it is asked for: nothing here is on the way of a step."""

import platform
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from sqlalchemy import case, func, select

from api.requests import Requests
from api.services import Services
from api.version import VERSION
from eventstore.measures import Histogram
from eventstore.schema import lease
from eventstore.store import StoreUnavailable


def exposition(services: Services, requests: Requests) -> bytes:
    """All metrics in the text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(services, requests))
    ProcessCollector(registry=registry)
    return generate_latest(registry)


class _Collector(Collector):
    def __init__(self, services: Services, requests: Requests) -> None:
        self._services, self._requests = services, requests

    def collect(self) -> Iterable[Metric]:
        services = self._services
        yield _gauge("foldline_ready", "Whether work can be taken: 1 or 0.", services.health.trouble() is None)
        about = GaugeMetricFamily("foldline_build_info", "Which server this is.", labels=["version", "python"])
        about.add_metric([VERSION, platform.python_version()], 1)
        yield about
        yield from _of_log(services)
        yield from _of_work(services)
        yield from _of_requests(self._requests)
        yield from _of_disk(services)
        # Without the database `foldline_ready` says so, and all the above is known all the same.
        with suppress(StoreUnavailable):
            yield from [*_of_projections(services), *_of_leases(services)]


def _of_log(services: Services) -> Iterator[Metric]:
    labels = ["shard"]
    append = HistogramMetricFamily("foldline_append_seconds", "From a command to its durable answer.", labels=labels)
    decide = HistogramMetricFamily("foldline_decide_seconds", "Deciding in one transaction.", labels=labels)
    commit = HistogramMetricFamily("foldline_commit_seconds", "One transaction, its lock included.", labels=labels)
    jobs = HistogramMetricFamily("foldline_commit_commands", "Commands that shared one transaction.", labels=labels)
    events = CounterMetricFamily("foldline_events", "Events appended by this process.", labels=labels)
    failed = CounterMetricFamily("foldline_commits_failed", "Transactions that did not become durable.", labels=labels)
    away = CounterMetricFamily("foldline_appends_turned_away", "Commands not taken: too many waited.", labels=labels)
    waiting = GaugeMetricFamily("foldline_appends_waiting", "Commands that wait for a transaction.", labels=labels)
    for shard, batcher in enumerate(services.store.batchers):
        name, measures = [str(shard)], batcher.measures
        _fill(append, name, measures.append)
        _fill(decide, name, measures.decide)
        _fill(commit, name, measures.commit)
        _fill(jobs, name, measures.jobs)
        events.add_metric(name, measures.events)
        failed.add_metric(name, measures.failed)
        away.add_metric(name, measures.turned_away)
        waiting.add_metric(name, batcher.waiting)
    yield from (append, decide, commit, jobs, events, failed, away, waiting)


def _of_work(services: Services) -> Iterator[Metric]:
    """As this process knows it: without a look into the database, or a lock."""
    state = services.controller.state
    claims = services.exchange.claims
    seconds = HistogramMetricFamily("foldline_claim_seconds", "From a task's entry into its queue to its start.")
    _fill(seconds, [], claims)
    yield seconds
    expired = CounterMetricFamily("foldline_leases_expired", "Leases that this process found to have run out.")
    expired.add_metric([], services.loop.expired)
    yield expired
    queued = GaugeMetricFamily("foldline_queue_length", "What waits in a queue.", labels=["queue"])
    for name in sorted(state.queues.copy()):
        queued.add_metric([name], state.ready.length(name))
    yield queued
    agents = GaugeMetricFamily("foldline_agents", "Agents by their status.", labels=["status"])
    statuses = [agent.status for agent in state.agents.copy().values()]
    for status in sorted({"online", "lost", "left", *statuses}):
        agents.add_metric([status], statuses.count(status))
    yield agents


def _of_requests(requests: Requests) -> Iterator[Metric]:
    counts = CounterMetricFamily("foldline_http_requests", "Answered requests.", labels=["method", "route", "status"])
    for (method, route, status), count in sorted(requests.by_status.copy().items()):
        counts.add_metric([method, route, str(status)], count)
    yield counts
    seconds = HistogramMetricFamily(
        "foldline_http_request_seconds", "To the end of the answer, polls included.", labels=["method", "route"]
    )
    for asked, histogram in sorted(requests.seconds.copy().items(), key=lambda item: item[0]):
        _fill(seconds, list(asked), histogram)
    yield seconds
    yield _gauge("foldline_http_requests_in_progress", "Requests not answered yet.", requests.in_progress)
    away = CounterMetricFamily("foldline_http_requests_turned_away", "Requests not let in: too many waited.")
    away.add_metric([], requests.turned_away)
    yield away


def _of_disk(services: Services) -> Iterator[Metric]:
    free = shutil.disk_usage(services.settings.data).free
    yield _gauge("foldline_disk_free_bytes", "Room on the disk of the data folder.", free)
    path = services.settings.sqlite_path
    if path is not None:
        yield _gauge("foldline_database_bytes", "The SQLite file.", _size(path))
        yield _gauge("foldline_wal_bytes", "Its write-ahead log.", _size(path.with_name(f"{path.name}-wal")))


def _of_projections(services: Services) -> Iterator[Metric]:
    labels = ["projection", "shard"]
    events = GaugeMetricFamily("foldline_projection_lag_events", "Events it has not taken in.", labels=labels)
    seconds = GaugeMetricFamily("foldline_projection_lag_seconds", "Age of the first of those.", labels=labels)
    stopped = GaugeMetricFamily("foldline_projection_stopped", "Whether it cannot go on: 1 or 0.", labels=labels)
    head = GaugeMetricFamily("foldline_log_position", "The last position of the log.", labels=["shard"])
    heads: dict[str, int] = {}
    for one in services.projections.lag():
        name = [one.name, str(one.shard)]
        events.add_metric(name, one.lag_events)
        seconds.add_metric(name, one.lag_seconds)
        stopped.add_metric(name, one.error is not None)
        heads[str(one.shard)] = max(one.head, heads.get(str(one.shard), 0))
    for shard, position in heads.items():
        head.add_metric([shard], position)
    yield from (head, events, seconds, stopped)


def _of_leases(services: Services) -> Iterator[Metric]:
    """Of all servers on this database. What a lease is for stands before the dash of its stream."""
    kinds = [(lease.c.stream.startswith(f"{name}-"), name) for name in ("agent", "run")]
    kind = case(*kinds, else_="task")
    with services.store.database.reading() as connection:
        found = {str(name): int(count) for name, count in connection.execute(select(kind, func.count()).group_by(kind))}
    held = GaugeMetricFamily("foldline_leases_held", "Leases: of agents, tasks, and hosts of runs.", labels=["kind"])
    for name in ("agent", "task", "run"):
        held.add_metric([name], found.get(name, 0))
    yield held


def _gauge(name: str, about: str, value: float) -> Metric:
    return GaugeMetricFamily(name, about, value=float(value))


def _fill(family: HistogramMetricFamily, labels: list[str], histogram: Histogram) -> None:
    below, buckets = 0, list[tuple[str, float]]()
    for bound, count in zip((*map(str, histogram.bounds), "+Inf"), histogram.counts, strict=True):
        below += count
        buckets.append((bound, below))
    family.add_metric(labels, buckets, sum_value=histogram.total)


def _size(path: Path) -> int:
    """In bytes; 0 when there is no such file."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
