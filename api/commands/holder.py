"""The server that holds the database: a command that cannot open the file asks it to do the work."""

import json
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Any

from api.commands.failures import Failed
from api.settings import Settings
from eventstore.errors import DatabaseInUse

# A proxy cannot reach our own machine.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Holder:
    """Speaks with the server that `busy` names, and shows it the key in the data folder."""

    def __init__(self, settings: Settings, busy: DatabaseInUse) -> None:
        self.address = _reachable(busy.address)
        self.pid = busy.pid
        self._busy, self._settings = busy, settings

    def get(self, path: str) -> Any:
        return self._ask("GET", path, timeout=10)

    def post(self, path: str, body: Any, *, timeout: float | None = 30) -> Any:
        return self._ask("POST", path, body, timeout=timeout)

    def _ask(self, method: str, path: str, body: Any = None, *, timeout: float | None) -> Any:
        """What the server answers. Raises Failed."""
        if not self.address:
            raise Failed(f"{self._busy}")
        request = urllib.request.Request(
            self.address + path,
            None if body is None else json.dumps(body).encode(),
            {"Authorization": f"Bearer {self._key()}", "Content-Type": "application/json"},
            method=method,
        )
        try:
            with _opener.open(request, timeout=timeout) as response:
                return json.loads(response.read() or b"null")
        except urllib.error.HTTPError as error:
            raise Failed(self._refusal(error)) from error
        except (OSError, HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise Failed(f"{self._busy} ({self.address} does not answer: {reason})") from error

    def _key(self) -> str:
        path = self._settings.data / "admin.key"
        try:
            return path.read_text().strip()
        except OSError as error:
            raise Failed(
                f"{self._busy}; to have it do the work, its key {path} must be read ({error.strerror}): "
                "give --data the server's folder, and be the user it runs as"
            ) from error

    def _refusal(self, error: urllib.error.HTTPError) -> str:
        if error.code in (401, 403):
            return (
                f"the server at {self.address} does not know the key in {self._settings.data}: give --data its folder"
            )
        try:
            return str(json.loads(error.read())["detail"])
        except (ValueError, KeyError, TypeError):
            return f"the server at {self.address} answered {error.code} {error.reason}"


def _reachable(address: str) -> str:
    """The address to ask: a server that listens everywhere is here too."""
    return address.replace("://0.0.0.0:", "://127.0.0.1:").replace("://[::]:", "://[::1]:")
