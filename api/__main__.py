"""The `foldline-server` command: what it takes, which part of it is run, and how a failure is said.

Nothing of the server is imported before the arguments are known to make sense.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from api import starting
from api.commands import audit_arguments
from api.version import VERSION

EXIT_CODES = (
    "exit codes: 0 done; 1 an error, which one sentence on standard error explains (doctor: something is wrong); "
    "2 wrong usage; 130 interrupted"
)
DATABASE = "sqlite:////absolute/path/file.db or postgresql://user@host/name; default: foldline.db in the data folder"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and end the process with its exit code."""
    sys.exit(run(arguments, prepare=starting.prepare))


def run(arguments: Sequence[str] | None = None, *, prepare: Callable[[], None] = lambda: None) -> int:
    """Run the command; its exit code. `prepare` is called before anything of the server is imported."""
    asked = _parser().parse_args(arguments)
    prepare()
    try:
        return import_module(f"api.commands.{asked.module}").run(asked)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        from api.commands.failures import sentence_of

        sentence = sentence_of(error)
        if sentence is None:
            raise
        print(f"foldline-server: {sentence}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="foldline-server",
        description="Pipelines of tasks as state machines on an event log: the server.",
        epilog=f"Settings come from flags, else from FOLDLINE_SERVER_DB, _DATA, _HOST, _PORT and others. {EXIT_CODES}.",
    )
    parser.add_argument("--version", action="version", version=VERSION)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    serve = _command(commands, "serve", "run the server in the foreground, until SIGTERM or Ctrl-C")
    _add_place(serve)
    _add_address(serve)

    dev = _command(commands, "dev", "run the server and two agents on this machine, until Ctrl-C")
    _add_place(dev)
    dev.add_argument("--port", type=_port, help="default 8420")
    dev.add_argument("--slots", type=int, default=2, metavar="N", help="tasks at once in 'default' (default 2)")

    migrate = _command(commands, "migrate", "make a new database, or bring an older one to this version")
    _add_place(migrate)

    doctor = _command(commands, "doctor", "say how the server's parts are, and what to do about what is wrong")
    doctor.add_argument("--json", action="store_true", help="say it as one JSON object")
    _add_place(doctor)

    backup = _command(commands, "backup", "copy database, artifacts and logs into a folder, also while a server works")
    backup.add_argument("to", type=Path, metavar="FOLDER", help="the folder to make")
    backup.add_argument("--json", action="store_true", help="say what was copied as one JSON object")
    _add_place(backup)

    restore = _command(commands, "restore", "put a backup into an empty database and data folder")
    restore.add_argument("source", type=Path, metavar="FOLDER", help="what `backup` made")
    _add_place(restore)

    rebuild = _command(commands, "rebuild", "make projections anew from the log")
    rebuild.add_argument("projections", nargs="*", metavar="PROJECTION", help="all of them when none is named")
    _add_place(rebuild)

    token = commands.add_parser("token", help="make tokens", description="Make tokens.", epilog=EXIT_CODES)
    create = _command(
        token.add_subparsers(required=True, metavar="COMMAND"),
        "create",
        "make a token and show it this once; from then on the server wants one",
        module="token",
    )
    create.add_argument("name", metavar="NAME", help="whose it is: the log says who did what")
    _add_place(create)
    audit_arguments.add(commands, _command, _add_place)
    return parser


def _command(commands: Any, name: str, does: str, *, module: str | None = None) -> argparse.ArgumentParser:
    """A command's parser. `commands` is what `add_subparsers` returns, whose type has no public name."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=does, description=f"{does[0].upper()}{does[1:]}.", epilog=EXIT_CODES
    )
    parser.set_defaults(module=module or name)
    return parser


def _add_place(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--db", metavar="URL", help=DATABASE)
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="folder for artifacts and logs; default ~/.foldline/server"
    )


def _add_address(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", help="address to listen on (default 127.0.0.1); beyond loopback a token is needed")
    parser.add_argument("--port", type=_port, help="default 8420; 0 for any that is free")


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port < 65536:
        raise argparse.ArgumentTypeError(f"{text} is no port: give a number from 0 to 65535")
    return port


if __name__ == "__main__":
    main()
