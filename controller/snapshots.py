"""Large runs are opened from a snapshot: the run as it was folded last, and only what came after it is folded anew.

A cache, never the truth. What another program has folded, what is not of this log and what cannot be read is passed
over, and the run is folded from its first event.
"""

import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from hashlib import sha256
from itertools import chain, islice
from pathlib import Path
from types import GenericAlias
from typing import Any, Protocol, get_args

import msgspec
import structlog
from immutables import Map
from msgspec.structs import replace

import domain
from controller.folding import fold_on, fold_run, plan_of
from domain.content import Content
from domain.pipeline import Plan, StepDefinition
from domain.run_state import Run, Step
from eventstore.snapshots import Snapshots
from eventstore.store import StoreBroken, Told

log = structlog.get_logger()

LEAST = 20_000  # events that a snapshot spares
STEPS_AT_ONCE = 2_000  # others get their turn between two such parts, which take some 2 ms
SUM = 4  # bytes of the checksum in front
QUICK = 1  # level of compression: it makes a fourth of the bytes, and higher ones hardly less


class Unreadable(Exception):
    """These are not the bytes that were kept."""


class History(Protocol):
    """What is asked of a store, or of an open append."""

    def told(self, run_id: str, *, after: int = 0) -> Iterator[Told]: ...


class _Kept(msgspec.Struct, array_like=True):
    """A run in bytes. Its plan is made again of its definition and of the steps that were added on the way."""

    definition: str
    added: list[tuple[StepDefinition, Content]]
    run: bytes
    steps: list[bytes]


def _simpler(value: Any) -> Any:
    """What is written for the values in a run that only this program knows."""
    match value:
        case Map():
            return dict(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
        case Plan():
            return None  # it is named, not kept
        case _:
            raise NotImplementedError(f"a snapshot cannot hold a {type(value).__name__}")


def _back(plan: Plan, kind: Any, value: Any) -> Any:
    """What `_simpler` has made simpler."""
    return plan if kind is Plan else Map(msgspec.convert(value, GenericAlias(dict, get_args(kind))))


_bytes_of = msgspec.msgpack.Encoder(enc_hook=_simpler).encode
_kept = msgspec.msgpack.Decoder(_Kept)
_steps = msgspec.msgpack.Decoder(dict[str, Step])


def encode(run: Run) -> bytes:
    """Raises NotImplementedError for a value that is not of a log."""
    plan = run.plan
    added = [plan.steps[name] for name in plan.names[len(plan.definition.steps) :]]
    kept = _Kept(
        run.definition,
        [(step, plan.contents[step.content or ""]) for step in added],
        _packed(replace(run, steps=Map())),
        [_packed(part) for part in _parts(run.steps)],
    )
    data = _bytes_of(kept)
    return _sum(data) + data


def decode(data: bytes, text: Callable[[str], str]) -> Run:
    """The run, with what `text` gives for the definition and contents that it has pinned.

    Raises Unreadable, and StoreBroken for a content that is missing.
    """
    if data[:SUM] != _sum(data[SUM:]):
        raise Unreadable("its checksum is another")
    kept = _kept.decode(data[SUM:])
    plan = plan_of(kept.definition, text)
    for step, content in kept.added:
        plan = plan.with_step(step, content)
    run = msgspec.msgpack.decode(zlib.decompress(kept.run), type=Run, dec_hook=partial(_back, plan))
    steps: dict[str, Step] = {}
    for part in kept.steps:
        steps.update(_steps.decode(zlib.decompress(part)))
    return replace(run, steps=Map(steps))


def _sum(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(SUM, "big")


def _packed(value: object) -> bytes:
    return zlib.compress(_bytes_of(value), QUICK)


def _parts(steps: Mapping[str, Step]) -> Iterator[Mapping[str, Step]]:
    items = iter(steps.items())
    while part := dict(islice(items, STEPS_AT_ONCE)):
        yield part


@cache
def code() -> str:
    """Which program folds and encodes: any change of the domain, or of this, makes it another."""
    sources = [*Path(domain.__path__[0]).glob("*.py*"), *Path(__file__).parent.glob("*.py*")]
    return sha256(b"".join(source.read_bytes() for source in sorted(sources))).hexdigest()


class Keeper:
    """Opens runs, and keeps snapshots of large ones: in a thread of its own, as who commits must not wait for it."""

    def __init__(self, table: Snapshots, *, least: int = LEAST) -> None:
        """`least`: the events that a snapshot has to spare, in addition to those that the last one does."""
        self._table, self.least = table, least
        self.asks_from = least // 10
        """Events of a run that are read in any case: only after so many it is asked for a snapshot."""
        self._versions: dict[str, int] = {}  # of the last snapshot of each run, as far as it is known
        self._offered: dict[str, Run] = {}
        self._mutex = threading.Lock()
        self._news, self._stopping = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._go, name="snapshots", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends after the snapshot that is being made. Those that it had not come to are made another time."""
        self._stopping.set()
        self._news.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def find(self, run_id: str, text: Callable[[str], str]) -> Run | None:
        """The run as its snapshot has it; None when there is none that counts."""
        data = self._table.find(run_id, code())
        if data is None:
            return None
        try:
            run = decode(data, text)
        except (Unreadable, StoreBroken) as error:
            log.warning("a snapshot cannot be read, and counts for nothing", run=run_id, error=str(error))
            return None
        self._versions[run_id] = run.version
        return run

    def offer(self, run: Run) -> None:
        """Take what has been committed, or folded of what has. Costs a comparison where no snapshot is due."""
        if run.version < self.least:
            return
        last = self._versions.get(run.id, 0)
        if run.version - last < self.least or (run.version < 2 * last and run.ended_at is None):
            return
        with self._mutex:
            self._versions[run.id] = run.version
            self._offered[run.id] = run
        self._news.set()

    def keep_offered(self) -> None:
        """Make a snapshot of each run that was offered. Raises StoreUnavailable."""
        while not self._stopping.is_set() and (run := self._next()) is not None:
            self._table.keep(run.id, run.version, code(), encode(run))

    def _next(self) -> Run | None:
        with self._mutex:
            return self._offered.pop(next(iter(self._offered))) if self._offered else None

    def _go(self) -> None:
        while not self._stopping.is_set():
            self._news.wait()
            self._news.clear()
            try:
                self.keep_offered()
            except Exception:
                log.exception("a snapshot could not be kept; its run is folded from the events")
                self._news.set()  # there may be others


def open_run(run_id: str, history: History, text: Callable[[str], str], keeper: Keeper | None) -> Run | None:
    """The run after all of its `history`; None when there is none. Raises StoreBroken."""
    told = history.told(run_id)
    if keeper is None:
        return fold_run(run_id, told, text)
    begin = list(islice(told, keeper.asks_from))
    if len(begin) == keeper.asks_from and (run := keeper.find(run_id, text)) is not None:
        return fold_on(run, history.told(run_id, after=run.version))
    return fold_run(run_id, chain(begin, told), text)
