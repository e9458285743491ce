"""Proofs as JSON: that one event is in a signed tree, and that one signed tree begins with another.

Each can be checked without this program and without the database, see examples/audit/check.py. A format.
"""

from functools import partial

from eventstore.audit.errors import Altered, NotSigned
from eventstore.audit.tree import CURE, StoredTree, checkpoint_of
from eventstore.dialects import Dialect
from eventstore.leaf import leaf_data, leaf_of
from eventstore.merkle import consistency_path, inclusion_path, is_consistent, is_included
from eventstore.schema import EVENT_COLUMNS

Proof = dict[str, object]


def inclusion(database: Dialect, position: int, *, shard: int = 0, size: int | None = None) -> Proof:
    """That the event is in the last checkpoint, or in that of `size`. Raises NotSigned, Altered."""
    tree = StoredTree(database)
    note = note_of(tree, shard, size)
    signed = checkpoint_of(note)
    if not 0 < position <= signed.size:
        raise NotSigned(
            f"event {shard}-{position} is not in the checkpoint of {signed.size} events: "
            "take a later one, or try again in some seconds"
        )
    columns = ", ".join(EVENT_COLUMNS[:-1])
    asked = database.sql(f"SELECT {columns} FROM event WHERE shard = ? AND position = ?")
    rows = database.fetch(asked, (shard, position))
    path = inclusion_path(position - 1, signed.size, partial(tree.root, shard))
    if not rows or not is_included(leaf_of(rows[0]), position - 1, signed.size, path, signed.root):
        raise Altered(f"event {shard}-{position} is not what was signed: {CURE}")
    return {
        "kind": "inclusion",
        "position": f"{shard}-{position}",
        "index": position - 1,
        "event": leaf_data(rows[0]).decode(),
        "path": [sibling.hex() for sibling in path],
        "checkpoint": note,
    }


def consistency(database: Dialect, first: int, *, shard: int = 0, second: int | None = None) -> Proof:
    """That the last checkpoint, or that of size `second`, goes on from that of size `first`. Raises as `inclusion`."""
    tree = StoredTree(database)
    before, after = note_of(tree, shard, first), note_of(tree, shard, second)
    old, new = checkpoint_of(before), checkpoint_of(after)
    if new.size < old.size:
        raise NotSigned(f"a checkpoint of {new.size} events does not go on from one of {old.size}: swap them")
    path = consistency_path(old.size, new.size, partial(tree.root, shard))
    if not is_consistent(old.size, old.root, new.size, new.root, path):
        raise Altered(f"the checkpoint of {new.size} events does not go on from that of {old.size}: {CURE}")
    return {
        "kind": "consistency",
        "first": before,
        "second": after,
        "path": [sibling.hex() for sibling in path],
    }


def note_of(tree: StoredTree, shard: int, size: int | None) -> str:
    """The newest checkpoint, or that of `size`. Raises NotSigned."""
    note = tree.last(shard) if size is None else tree.at(shard, size)
    if note is None:
        raise NotSigned(f"there is no checkpoint of shard {shard} yet: try again in some seconds, while a server runs")
    return note


def position_of(database: Dialect, run_id: str, run_version: int) -> tuple[int, int]:
    """Shard and position of an event of a run. Raises NotSigned."""
    asked = database.sql("SELECT shard, position FROM event WHERE run_id = ? AND run_version = ?")
    rows = database.fetch(asked, (run_id, run_version))
    if not rows:
        raise NotSigned(f"there is no event {run_id}@{run_version}: give a run's id and one of its versions")
    return rows[0][0], rows[0][1]
