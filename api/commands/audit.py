"""`foldline-server audit`: on the database itself, or through the server that holds it."""

import json
import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlencode

from api.commands.audit_arguments import WRONG
from api.commands.failures import Failed
from api.commands.holder import Holder
from api.commands.place import settings_of
from api.services import keyring
from api.settings import Settings
from api.wire import time_text
from eventstore.audit import proofs
from eventstore.audit.errors import AuditError
from eventstore.audit.findings import Report, report_from
from eventstore.audit.keys import public_keys_from
from eventstore.audit.notes import read
from eventstore.audit.sealer import Sealer
from eventstore.audit.tree import StoredTree, checkpoint_of
from eventstore.audit.verification import verify
from eventstore.errors import DatabaseInUse
from eventstore.sql import SqlStore, open_store


class Log(Protocol):
    """What the commands ask, of the database or of the server that holds it. Raises AuditError or Failed."""

    def verify(self, kept: Sequence[str], keys: Sequence[str] | None) -> Report: ...

    def checkpoint(self) -> tuple[str, int]:
        """The newest note, and how many events are not signed yet."""
        ...

    def inclusion(self, event: str, size: int | None) -> Any: ...

    def consistency(self, first: int, second: int | None) -> Any: ...

    def signers(self) -> Sequence[tuple[str, str]]:
        """Each key and since when."""
        ...


def run(asked: Namespace) -> int:
    settings = settings_of(asked)
    try:
        store = open_store(settings.url)
    except DatabaseInUse as busy:
        return _run(asked, settings, Held(Holder(settings, busy)))
    try:
        return _run(asked, settings, Opened(store, settings))
    except AuditError as error:
        raise Failed(str(error)) from error
    finally:
        store.close()


def _run(asked: Namespace, settings: Settings, log: Log) -> int:
    match asked.part:
        case "verify":
            return _verify(asked, log)
        case "checkpoint":
            note, unsigned = log.checkpoint()
            print(note, end="")
            if unsigned:
                print(f"not yet signed: {unsigned:,}", file=sys.stderr)
        case "proof":
            to = None if asked.to is None else _size(asked.to)
            proof = log.inclusion(asked.event, to) if asked.event else log.consistency(_size(asked.first), to)
            print(json.dumps(proof, indent=1, ensure_ascii=False))
        case _:
            _keys(asked, settings, log)
    return 0


def _verify(asked: Namespace, log: Log) -> int:
    keys = None if asked.keys is None else _text(asked.keys).splitlines()
    report = log.verify([_text(path) for path in asked.checkpoint], keys)
    if asked.json:
        print(json.dumps({**asdict(report), "ok": not report.findings}, indent=1, ensure_ascii=False))
    else:
        _tell(report)
    return WRONG if report.findings else 0


def _tell(report: Report) -> None:
    for finding in report.findings:
        print(f"wrong  {finding.place}: {finding.said}")
    if report.untold:
        print(f"wrong  and {report.untold:,} more")
    by = ", ".join("+".join(key.split("+")[:2]) for key in report.keys) or "nobody"
    seen = f"{report.events:,} events, {report.checkpoints:,} checkpoints signed by {by}"
    print(f"{'wrong' if report.findings else 'ok':<6} {seen}, {report.contents:,} contents")
    print(f"       signed: {report.signed:,}")
    print(f"       not yet signed: {report.unsigned:,}")
    if report.archived:
        print(f"       archived: {report.archived:,}")
    if report.kept:
        print(f"       compared with checkpoints kept elsewhere: {report.kept:,}")


def _keys(asked: Namespace, settings: Settings, log: Log) -> None:
    for key, since in log.signers():
        print(f"{key} since {since}")
    if asked.rotate:
        try:
            fresh = str(keyring(settings).rotate().public)
        except AuditError as error:
            raise Failed(str(error)) from error
        print(f"{fresh} from now on")


class Opened:
    """The database, opened by this process."""

    def __init__(self, store: SqlStore, settings: Settings) -> None:
        self._store, self._database, self._settings = store, store.database, settings

    def verify(self, kept: Sequence[str], keys: Sequence[str] | None) -> Report:
        return verify(self._store, kept=kept, keys=None if keys is None else public_keys_from(keys))

    def checkpoint(self) -> tuple[str, int]:
        tree, key = StoredTree(self._database), keyring(self._settings, make=False)
        # Who only looks at somebody else's database has no key, and makes none.
        if key.there:
            Sealer(self._store, key).seal()
        note = proofs.note_of(tree, 0, None)
        return note, self._store.head() - checkpoint_of(note).size

    def inclusion(self, event: str, size: int | None) -> Any:
        run_id, version = _of_run(event)
        if run_id:
            shard, position = proofs.position_of(self._database, run_id, version)
        else:
            shard, position = _position(event)
        return proofs.inclusion(self._database, position, shard=shard, size=size)

    def consistency(self, first: int, second: int | None) -> Any:
        return proofs.consistency(self._database, first, second=second)

    def signers(self) -> Sequence[tuple[str, str]]:
        return [(key, time_text(since) or "") for key, since in StoredTree(self._database).signers()]


class Held:
    """The server that holds the database."""

    def __init__(self, holder: Holder) -> None:
        self._holder = holder

    def verify(self, kept: Sequence[str], keys: Sequence[str] | None) -> Report:
        asked = {"kept": list(kept), "keys": None if keys is None else list(keys)}
        return report_from(self._holder.post("/api/v1/admin/audit/verify", asked, timeout=None))

    def checkpoint(self) -> tuple[str, int]:
        told = self._holder.post("/api/v1/admin/audit/checkpoint", None)
        return told["note"], told["unsigned"]

    def inclusion(self, event: str, size: int | None) -> Any:
        run_id, version = _of_run(event)
        if run_id:
            return self._get("proof", run_id=run_id, run_version=version, size=size)
        shard, position = _position(event)
        return self._get("proof", position=f"{shard}-{position}", size=size)

    def consistency(self, first: int, second: int | None) -> Any:
        return self._get("consistency", first=first, second=second)

    def signers(self) -> Sequence[tuple[str, str]]:
        return [(one["key"], one["since"]) for one in self._get("keys")["items"]]

    def _get(self, what: str, **asked: Any) -> Any:
        given = urlencode({name: value for name, value in asked.items() if value is not None})
        return self._holder.get(f"/api/v1/audit/{what}?{given}")


def _of_run(event: str) -> tuple[str, int]:
    """The run and the version in ID@VERSION; an empty run when it is a position. Raises Failed."""
    run_id, at, version = event.rpartition("@")
    if at and not version.isdigit():
        raise Failed(f"{event!r} is no event: give a position such as 0-318, or RUN@VERSION")
    return run_id, int(version) if at else 0


def _position(text: str) -> tuple[int, int]:
    """Raises Failed."""
    shard, _, position = text.rpartition("-")
    try:
        return int(shard or 0), int(position)
    except ValueError:
        raise Failed(f"{text!r} is no event: give a position such as 0-318, or RUN@VERSION") from None


def _size(text: str) -> int:
    """Of the checkpoint in a file, or of the size itself. Raises Failed."""
    if text.isdigit():
        return int(text)
    try:
        return read(_text(Path(text))).checkpoint.size
    except AuditError as error:
        raise Failed(f"{text}: {error}") from error


def _text(path: Path) -> str:
    """Raises Failed."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Failed(f"{path} cannot be read: {getattr(error, 'strerror', None) or 'it is no text'}") from error
