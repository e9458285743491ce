"""Many callers of a server that crashes under them: each repeats what was not answered."""

import threading
from collections.abc import Sequence
from typing import Any

from eventstore.points import EXIT_CODE
from tests.support.crashing import Crashed, CrashServer, Forker, Unavailable


class Crowd:
    """Whoever finds the server gone starts the next one, in which the next crash is armed."""

    def __init__(self, forker: Forker, url: str, crashes: Sequence[str]) -> None:
        self._forker, self._url, self._crashes = forker, url, list(crashes)
        self._mutex = threading.Lock()
        self._server = self._serve()

    def ask(self, name: str, *arguments: Any) -> Any:
        while True:
            server = self._server
            try:
                return server.ask(name, *arguments)
            except Unavailable as error:
                self._lost(str(error))
            except Crashed:
                self._ended(server)

    # Of all who meet the same end, one sees to it.

    def _lost(self, said: str) -> None:
        with self._mutex:
            name, _, way = self._crashes[0].split(":") if self._crashes else ("", "", "")
            if way == "lost" and said.endswith(f"at {name}"):
                del self._crashes[0]
                if self._crashes:
                    self._server.ask("arm", self._crashes[0])

    def _ended(self, server: CrashServer) -> None:
        with self._mutex:
            if server is self._server:
                assert server.ended() == EXIT_CODE
                del self._crashes[0]
                self._server = self._serve()

    @property
    def left(self) -> int:
        """How many crashes have not taken place."""
        return len(self._crashes)

    def end(self) -> None:
        assert self._server.end() == 0

    def _serve(self) -> CrashServer:
        return self._forker.serve(self._url, self._crashes[0] if self._crashes else None)
