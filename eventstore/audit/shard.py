"""The check of one shard: its events, its checkpoints, its tree."""

from collections.abc import Callable, Iterable, Sequence, Set
from itertools import groupby
from typing import NamedTuple

from eventstore.audit.errors import Altered, Malformed
from eventstore.audit.findings import MOST, Report
from eventstore.audit.growth import Growth
from eventstore.audit.notes import Note, origin_of, read
from eventstore.audit.rows import LEAF, POSITION, STREAM, VERSION, Commands, Row, Rows, Stretch, leaf_at
from eventstore.audit.tree import LEVEL, Stored, StoredTree, unpacked
from eventstore.merkle import WIDTH, hash_at
from eventstore.sql import SqlStore

AT_ONCE = 4_000  # events that no checkpoint covers
MOST_SWAPPED = 200  # changed events among which a swap is looked for


class Changed(NamedTuple):
    """A row, and the hash and the stream (None when it is not known) of the event that was signed in its place."""

    row: Row
    leaf: bytes
    stream: str | None


class Shard:
    """`signed` says whether a known key has signed a note; `breathe` is called now and then, and may raise."""

    def __init__(
        self,
        store: SqlStore,
        tree: StoredTree,
        report: Report,
        number: int,
        kept: Sequence[Note],
        *,
        signed: Callable[[Note], bool],
        breathe: Callable[[], None],
    ) -> None:
        self._database, self._tree, self._report, self._number = store.database, tree, report, number
        self._kept, self._signed_by_known, self._breathe = kept, signed, breathe
        # In this order: what is signed while it is read has its events before the head.
        self._signed = tree.signed(number)
        self._head = store.head(shard=number)
        self._rows = Rows(store.database, number, self._head)
        self._commands = Commands(lambda row, said: self._find("changed", said, row=row))
        self._growth = Growth(note.checkpoint.size for note in kept)
        self._origin = ""
        self._changed: dict[int, Changed] = {}

    def check(self) -> None:
        for one in self._tree.checkpoints(self._number):
            if one.start >= self._signed:
                break
            self._breathe()
            if one.start > self._growth.size:
                self._check_uncovered(one)
            self._check_covered(one)
            self._report.checkpoints += 1
        self._tell_changed()
        self._compare_nodes()
        self._check_unsigned()
        self._check_strays()
        self._compare_kept()
        self._report.signed += min(self._signed, self._head)
        self._report.unsigned += max(self._head - self._signed, 0)

    # What a checkpoint covers

    def _check_covered(self, one: Stored) -> None:
        if one.start != self._growth.size or one.size <= one.start:
            said = f"the checkpoint behind event {one.start} is out of its place: it was changed or added"
            self._find("checkpoint", said)
            return
        stretch = self._rows.upto(one.size)
        self._report.events += len(stretch.rows)
        leaves = self._believed(one, stretch, self._signed_root(one, stretch))
        names = self._names(one)
        told, intact = stretch.told, stretch.leaves == leaves
        if not (intact and stretch.is_hashed):
            changed = self._compare(stretch, leaves, names)
            told = [row for row in told if row[POSITION] not in changed]
        elif [row[STREAM] for row in stretch.rows] != names:
            self._find("checkpoint", f"the streams kept with {_which(one)} were changed; its events were not")
        self._commands.check(told, whole=intact)

    def _signed_root(self, one: Stored, stretch: Stretch) -> bytes | None:
        """The root that the note signs; None when the note is not to be believed."""
        try:
            note = read(one.note)
        except Malformed as error:
            self._find("checkpoint", f"the note of {_which(one)} was changed: {error}")
            return None
        if not self._signed_by_known(note):
            self._find("checkpoint", f"{_which(one)} is not signed by a known key: its note, or the key, was changed")
            return None
        told = note.checkpoint
        if not self._origin:
            first = (one.leaves or stretch.named)[:WIDTH]
            self._origin = origin_of(first, self._number) if one.start == 0 else told.origin
        if (told.shard, told.size, told.origin) != (self._number, one.size, self._origin):
            self._find("checkpoint", f"the note of {_which(one)} is that of {told.size} events of {told.origin}")
            return None
        return told.root

    def _believed(self, one: Stored, stretch: Stretch, root: bytes | None) -> bytes:
        """The hashes that lead to the signed root: those kept with the checkpoint, else those of the events."""
        width = (one.size - one.start) * WIDTH
        candidates = [leaves for leaves in (one.leaves, stretch.leaves, stretch.named) if len(leaves) == width]
        if root is not None and not self._growth.lost:
            for leaves in candidates:
                if self._growth.reaches(leaves, root):
                    if leaves != one.leaves:
                        self._find("checkpoint", f"the hashes kept with {_which(one)} were changed")
                    return leaves
            self._growth.lost = True
            said = (
                f"neither the events from {one.start + 1} to {one.size} nor the hashes kept of them are what "
                f"{_which(one)} signs: more than one copy was changed, and nothing later can be proved"
            )
            self._find("tree", said, position=one.start + 1)
        leaves = candidates[0] if candidates else bytes(width)
        self._growth.add(leaves)
        return leaves

    def _check_uncovered(self, one: Stored) -> None:
        start = self._growth.size
        said = f"no checkpoint covers the events from {start + 1} to {one.start}: it was removed"
        self._find("checkpoint", said, position=start + 1)
        self._check_alone(one.start)

    def _compare(self, stretch: Stretch, leaves: bytes, names: Sequence[str]) -> Set[int]:
        """Name each event that is not as signed. `names` are the streams, when they are known.

        Returns the positions of those that were changed.
        """
        changed: set[int] = set()
        rows = {row[POSITION]: (index, row) for index, row in enumerate(stretch.rows)}
        archived = {} if stretch.is_whole else self._archived(stretch)
        for offset in range(stretch.end - stretch.start):
            position, signed = stretch.start + 1 + offset, hash_at(leaves, offset)
            stream = names[offset] if names else None
            if position in rows:
                index, row = rows[position]
                if hash_at(stretch.leaves, index) != signed:
                    changed.add(position)
                    self._take_note(position, Changed(row, signed, stream))
                elif row[LEAF] != signed:
                    self._find("changed", "its hash was changed; the event was not", row=row)
            elif archived.get(position) == signed:
                self._report.archived += 1
            else:
                self._find("missing", "the event is not there any more", position=position, stream=stream)
        return changed

    def _take_note(self, position: int, changed: Changed) -> None:
        """Until all that is signed was seen: it may be found elsewhere. When all is changed no more is remembered."""
        if len(self._changed) < MOST:
            self._changed[position] = changed
        else:
            self._find("changed", "it is not the event that was signed", row=changed.row)

    def _tell_changed(self) -> None:
        """Those that hold what belongs to another of them were swapped, the rest were changed."""
        few = self._changed if len(self._changed) <= MOST_SWAPPED else {}
        owners = {one.leaf: position for position, one in few.items()}
        for row, _, stream in self._changed.values():
            owner = next((owners[leaf] for leaf in (leaf_at(row, other) for other in few) if leaf in owners), None)
            if owner is not None:
                self._find("swapped", f"it is the event that was signed at {self._number}-{owner}", row=row)
            elif row[VERSION] is None:
                said = "it cannot be read as text any more"
                self._find("changed", said, position=row[POSITION], stream=stream)
            elif stream in (None, row[STREAM]):
                self._find("changed", "it is not the event that was signed", row=row)
            else:
                said = f"the event that was signed is one of {stream}, not of {row[STREAM]!r}"
                self._find("changed", said, position=row[POSITION], stream=stream)

    # What none covers

    def _check_unsigned(self) -> None:
        behind = self._growth.size
        self._check_alone(self._head)
        for name, number in (("stream", "version"), ("run_id", "run_version")):
            self._check_counts(behind, name, number)

    def _check_alone(self, upto: int) -> None:
        """Events against the hashes that they name themselves, and without gaps."""
        while (at := self._growth.size) < upto:
            self._breathe()
            stretch = self._rows.upto(min(at + AT_ONCE, upto))
            self._report.events += len(stretch.rows)
            if not stretch.is_whole:
                self._find_gaps(stretch)
            if stretch.leaves != stretch.named:
                for index, row in enumerate(stretch.rows):
                    if hash_at(stretch.leaves, index) != row[LEAF]:
                        self._find("changed", "it does not have the hash that it names", row=row)
            self._commands.check(stretch.told, whole=stretch.is_hashed)
            width = (stretch.end - stretch.start) * WIDTH
            self._growth.add(stretch.named if len(stretch.named) == width else bytes(width))

    def _find_gaps(self, stretch: Stretch) -> None:
        archived = self._archived(stretch).keys()
        there = archived | {row[POSITION] for row in stretch.rows}
        self._report.archived += len(archived)
        for first, last in _runs(at for at in range(stretch.start + 1, stretch.end + 1) if at not in there):
            more = f", and so are all up to {last}" if last > first else ""
            self._find("missing", f"there is no such event, though later ones are there{more}", position=first)

    def _check_counts(self, behind: int, name: str, number: str) -> None:
        """Each event follows on the one before it in its stream, and in its run."""
        before = (
            f"SELECT 1 FROM event AS p WHERE p.{name} = e.{name} AND p.{number} = e.{number} - 1"
            " AND p.shard = e.shard AND p.position < e.position"
        )
        # Where events were archived the one before may be among them.
        asked = self._database.sql(
            f"SELECT e.position, e.stream, e.{number} FROM event AS e WHERE e.shard = ? AND e.position > ?"
            f" AND e.position <= ? AND e.{name} IS NOT NULL AND e.{number} <> 1 AND NOT EXISTS ({before})"
            " AND NOT EXISTS (SELECT 1 FROM archived WHERE shard = e.shard) ORDER BY e.position LIMIT 1000"
        )
        for position, stream, count in self._database.fetch(asked, (self._number, behind, self._head)):
            said = f"its {number.replace('_', ' ')} is {count}, and {count - 1} is not before it"
            self._find("changed", said, position=position, stream=stream)

    def _check_strays(self) -> None:
        asked = self._database.sql("SELECT position, stream FROM event WHERE shard = ? AND position < 1 LIMIT 1000")
        for position, stream in self._database.fetch(asked, (self._number,)):
            self._find("added", "no event stands before position 1: it was added", position=position, stream=stream)

    # What is stored of the tree, and what was kept elsewhere

    def _compare_nodes(self) -> None:
        if self._growth.lost:
            return
        asked = self._database.sql("SELECT number, root FROM tree_node WHERE shard = ? AND number < ?")
        stored = dict(self._database.fetch(asked, (self._number, self._growth.size >> LEVEL)))
        for number, node in enumerate(self._growth.nodes()):
            if stored.pop(number, None) != node:
                self._find("tree", f"node {number} of the stored tree was changed or removed")
        for number in stored:
            self._find("tree", f"node {number} of the stored tree was added")

    def _compare_kept(self) -> None:
        for note in self._kept:
            told = note.checkpoint
            self._report.kept += 1
            if not self._signed_by_known(note):
                self._find("kept", f"the kept checkpoint of {told.size} events is not signed by a known key")
            if self._origin and told.origin != self._origin:
                self._find("kept", f"the kept checkpoint is of another log, {told.origin}: this is {self._origin}")
            elif told.size > self._growth.size:
                said = f"the log ends at event {self._head}: the events up to {told.size}, which were signed, are gone"
                self._find("kept", said, position=self._head + 1)
            elif self._growth.root_at(told.size) != told.root:
                self._find("kept", f"the first {told.size} events are not those of the kept checkpoint")

    # Words

    def _names(self, one: Stored) -> Sequence[str]:
        try:
            names = unpacked(one.streams)
        except Altered:
            return []
        return names if len(names) == one.size - one.start else []

    def _archived(self, stretch: Stretch) -> dict[int, bytes]:
        asked = self._database.sql(
            "SELECT position, leaf FROM archived WHERE shard = ? AND position > ? AND position <= ?"
        )
        return dict(self._database.fetch(asked, (self._number, stretch.start, stretch.end)))

    def _find(
        self, kind: str, said: str, *, position: int | None = None, stream: str | None = None, row: Row | None = None
    ) -> None:
        if row is not None:
            position, stream = row[POSITION], row[STREAM]
            said = f"version {row[VERSION]} of its stream: {said}"
        self._report.find(kind, self._number, said, position=position, stream=stream)


def _which(one: Stored) -> str:
    return f"the checkpoint of {one.size} events"


def _runs(positions: Iterable[int]) -> list[tuple[int, int]]:
    """First and last of each row of numbers that follow on one another."""
    groups = [list(group) for _, group in groupby(enumerate(positions), lambda pair: pair[1] - pair[0])]
    return [(group[0][1], group[-1][1]) for group in groups]
