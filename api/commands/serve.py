"""`foldline-server serve`: the server in the foreground."""

import errno
import os
import socket
from argparse import Namespace
from collections.abc import Callable

from api import starting
from api.app import create_app
from api.commands.failures import Failed
from api.commands.place import settings_of
from api.reporting import report_to_stderr
from api.services import Services, open_services
from api.serving import Server, nothing
from api.settings import Settings
from eventstore import points


def run(asked: Namespace) -> int:
    report_to_stderr()
    if crash_at := os.environ.get(points.VARIABLE):
        points.arm(crash_at)
    return serve(settings_of(asked), ready=_say_so)


def serve(
    settings: Settings, *, ready: Callable[[Services], None], before_the_end: Callable[[], None] = nothing
) -> int:
    """Serve until a signal comes. Raises Failed, CannotOpen and StoreBroken before anything is served."""
    # First of all: who finds the port taken shall not have opened the database.
    with listener(settings) as listening:
        settings = settings.model_copy(update={"port": listening.getsockname()[1]})
        services = opened(settings)
        app = create_app(services)
        starting.settle()
        server = Server(app, ready=lambda: ready(services), before_the_end=before_the_end)
        try:
            server.run(sockets=[listening])
        except SystemExit:
            services.close()
            return 1  # the start has failed, and the log says why
    return 0


def opened(settings: Settings) -> Services:
    try:
        services = open_services(settings)
    except OSError as error:
        raise Failed(
            f"cannot use {settings.data}: {error.strerror}; give --data a folder that can be written"
        ) from error
    try:
        if not settings.is_loopback and not services.tokens.needed():
            raise Failed(
                f"whoever reaches {settings.host} could command this server: make a token first, with "
                "`foldline-server token create NAME` and the same --db and --data"
            )
        # What cannot be read is said now, in a sentence, and not by a web server that cannot start.
        services.controller.catch_up()
    except BaseException:
        services.close()
        raise
    return services


def listener(settings: Settings) -> socket.socket:
    """A socket that listens. Raises Failed."""
    try:
        [(family, _, _, _, address), *_] = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        return socket.create_server(address[:2], family=family, backlog=2048)
    except socket.gaierror as error:
        raise Failed(
            f"{settings.host!r} is no address of this machine ({error.strerror}): give another --host"
        ) from error
    except OSError as error:
        match error.errno:
            case errno.EADDRINUSE:
                said = f"port {settings.port} is in use: stop the program that uses it, or give another --port"
            case errno.EADDRNOTAVAIL:
                said = f"{settings.host!r} is no address of this machine: give another --host"
            case errno.EACCES:
                said = f"port {settings.port} is for privileged programs only: give another --port"
            case _:
                place = f"{settings.host} port {settings.port}"
                said = f"cannot listen on {place} ({error.strerror}): give another --host or --port"
        raise Failed(said) from error


def _say_so(services: Services) -> None:
    print(f"Foldline is ready at {services.settings.address}", flush=True)
