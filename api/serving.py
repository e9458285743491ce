"""The web server around the application: one process, which ends soon when it is told to, whoever still listens."""

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Generator

import uvicorn
from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

# Together with the closing of the database less than the 10 seconds that the command promises.
SECONDS_TO_FINISH = 7
# Longer than agents poll and people read, so that their connections last.
KEEP_ALIVE = 75


def nothing() -> None:
    """What is done where nothing is to be done."""


class Server(uvicorn.Server):
    """Calls `ready` once when it listens, and `before_the_end` in a thread while it still answers."""

    def __init__(
        self, app: FastAPI, *, ready: Callable[[], None] = nothing, before_the_end: Callable[[], None] = nothing
    ) -> None:
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            lifespan="on",
            ws="none",
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=SECONDS_TO_FINISH,
        )
        super().__init__(config)
        self._app, self._ready, self._before_the_end = app, ready, before_the_end

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await run_in_threadpool(self._before_the_end)
        # The web server waits for answers that are under way, and those that wait would let it wait.
        self._app.state.services.closing.set()
        self._app.state.waiting.close()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Unlike the framework's own: to be told to end, and to end, is no failure, and the exit code says so."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        signals = [signal.SIGTERM, signal.SIGINT]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup means it
            signals.append(signal.SIGHUP)
        for number in signals:
            loop.add_signal_handler(number, self.end)
        try:
            yield
        finally:
            for number in signals:
                loop.remove_signal_handler(number)

    def end(self) -> None:
        """May be called from any thread."""
        self.should_exit = True
