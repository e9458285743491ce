"""Bearer tokens: made once and shown once; the database keeps their SHA-256."""

import hmac
import secrets
import threading
from collections.abc import Callable
from hashlib import sha256

from sqlalchemy import select

from domain.refused import Invalid
from eventstore.dialects import Dialect
from eventstore.schema import token as table

# What the log calls those who act without a token: nobody may be taken for one of them.
NOBODYS_NAMES = frozenset({"admin", "controller", "local", "server", "task"})
FRESH_FOR = 2.0  # seconds: how long a token that another process made or removed may go unnoticed


class Tokens:
    """The tokens there are. While there are none, whoever reaches the server may command it: loopback only."""

    def __init__(self, database: Dialect, *, clock: Callable[[], float]) -> None:
        self._database, self._clock = database, clock
        self._mutex = threading.Lock()
        self._names: dict[str, str] = {}
        self._read_at: float | None = None

    def create(self, name: str, at: int) -> str:
        """A new token under `name`. The only time that it can be seen. Raises Invalid."""
        if not name.strip() or len(name) > 200:
            raise Invalid("A token needs a name of 1 to 200 characters: whose is it?", "name")
        if name in NOBODYS_NAMES or name.startswith("agent:"):
            raise Invalid(f"{name!r} is what the server calls itself or an agent: choose another name.", "name")
        secret = f"fl_{secrets.token_urlsafe(32)}"
        with self._database.writing() as connection:
            if connection.execute(select(table.c.name).where(table.c.name == name)).first():
                raise Invalid(f"There is a token named {name!r} already: choose another name.", "name")
            connection.execute(table.insert().values(digest=_digest(secret), name=name, created_at=at))
        self.refresh()
        return secret

    def needed(self) -> bool:
        return bool(self._known())

    def name_of(self, secret: str) -> str | None:
        """Whose token it is; None when it is nobody's."""
        wanted = _digest(secret)
        for digest, name in self._known().items():
            if hmac.compare_digest(digest, wanted):
                return name
        return None

    def was_enough(self, secret: str) -> bool:
        """Whether it would do by what the database said last, however long ago: it was a token, or none was needed."""
        return self._read_at is not None and (not self._names or _digest(secret) in self._names)

    @property
    def fresh(self) -> bool:
        """Whether the answers need no look into the database."""
        return self._read_at is not None and self._clock() - self._read_at <= FRESH_FOR

    def refresh(self) -> None:
        """Look into the database."""
        with self._mutex:
            now = self._clock()
            with self._database.reading() as connection:
                rows = connection.execute(select(table.c.digest, table.c.name)).all()
            self._names = {str(digest): str(name) for digest, name in rows}
            self._read_at = now

    def _known(self) -> dict[str, str]:
        if not self.fresh:
            self.refresh()
        return self._names


def _digest(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()
