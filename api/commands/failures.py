"""How commands fail: with one sentence that says what to do."""

from pydantic import ValidationError

from domain.refused import Refused
from eventstore.errors import CannotOpen
from eventstore.store import StoreBroken, StoreDamaged, StoreUnavailable


class Failed(Exception):
    """The command could not do its work; the message is for a person."""


def sentence_of(error: Exception) -> str | None:
    """What to tell a person about `error`; None when it is a mistake of the program, which a traceback tells best."""
    match error:
        case ValidationError():
            wrong = error.errors()[0]
            name = "_".join(map(str, wrong["loc"])).upper()
            return f"the setting FOLDLINE_SERVER_{name} makes no sense: {wrong['msg']}"
        case StoreUnavailable():
            return f"{error}; is it running, and is --db right?"
        case StoreDamaged():
            return str(error)
        case StoreBroken():
            cure = "upgrade this program, or see what `foldline-server audit verify` says"
            return f"what the database holds cannot be read: {error}; {cure}"
        case Failed() | CannotOpen() | Refused():
            return str(error)
        case _:
            return None
