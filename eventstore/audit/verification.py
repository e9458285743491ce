"""Checks the whole log: each event against its hash, the hashes against the tree, the tree against the signatures."""

from collections.abc import Callable, Sequence
from hashlib import sha256

from eventstore.audit.errors import Malformed, Stopped
from eventstore.audit.findings import Report
from eventstore.audit.keys import PublicKey, public_key_from, signer_of
from eventstore.audit.notes import Note, read
from eventstore.audit.shard import Shard
from eventstore.audit.tree import StoredTree
from eventstore.sql import SqlStore

CONTENTS_AT_ONCE = 500


def verify(
    store: SqlStore,
    *,
    kept: Sequence[str] = (),
    keys: Sequence[PublicKey] | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> Report:
    """Look at everything, in bounded memory, beside whoever appends.

    `kept` are checkpoints that were kept elsewhere: the log must still begin as they say. With `keys` only these may
    have signed. Raises Malformed for a `kept` that is no checkpoint, Stopped when `stopped` says so, StoreUnavailable.
    """
    report, tree = Report(), StoredTree(store.database)
    notes = [read(text) for text in kept]
    known = _keys_on_record(tree, report) if keys is None else keys

    def signed(note: Note) -> bool:
        key = signer_of(note, known)
        if key is not None and str(key) not in report.keys:
            report.keys.append(str(key))
        return key is not None

    def breathe() -> None:
        if stopped():
            raise Stopped("the server ends: verify again when it is back")

    for number in sorted({*tree.shards(), *(note.checkpoint.shard for note in notes)}):
        mine = [note for note in notes if note.checkpoint.shard == number]
        Shard(store, tree, report, number, mine, signed=signed, breathe=breathe).check()
    _check_contents(store, report, breathe)
    report.keys.sort()
    report.sort()
    return report


def _keys_on_record(tree: StoredTree, report: Report) -> list[PublicKey]:
    keys: list[PublicKey] = []
    for text, _ in tree.signers():
        try:
            keys.append(public_key_from(text))
        except Malformed:
            report.find("key", 0, f"the key on record {text[:80]!r} is none: it was changed")
    return keys


def _check_contents(store: SqlStore, report: Report, breathe: Callable[[], None]) -> None:
    """What events name by its hash has that hash."""
    page = store.database.sql("SELECT digest, data FROM content WHERE digest > ? ORDER BY digest LIMIT ?")
    after = ""
    while rows := store.database.fetch(page, (after, CONTENTS_AT_ONCE)):
        breathe()
        report.contents += len(rows)
        after = rows[-1][0]
        for digest, data in rows:
            if sha256(data.encode()).hexdigest() != digest:
                report.find("content", 0, f"content {digest} does not have the hash that is its name: it was changed")
