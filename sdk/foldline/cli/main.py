"""The `foldline` command: parses, calls, and turns what went wrong into one line and an exit code.

What it offers is told by `foldline.cli.overview`, without the parser: to import that takes longer than to be told.
"""

import sys

from foldline.cli import overview
from foldline.version import VERSION

TYPE_CHECKING = False  # typing's own, which alone would be a tenth of what `foldline --help` takes
if TYPE_CHECKING:
    from collections.abc import Sequence

    from cyclopts import App


def main(arguments: "Sequence[str] | None" = None) -> None:
    """Run the command and end the process with its exit code."""
    sys.exit(run(arguments))


def run(arguments: "Sequence[str] | None" = None) -> int:
    """Run the command; its exit code. Errors of ours are one line on stderr."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        match words:
            case [] | ["--help" | "-h"]:
                print(overview.TEXT, end="")
                return 0
            case ["--version"]:
                print(VERSION)
                return 0
            case _:
                return _run(words)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has seen enough; Python would complain at exit
        return 0
    except KeyboardInterrupt:
        return 130


def _run(words: list[str]) -> int:
    from foldline.errors import FoldlineError

    try:
        outcome = commands()(words, result_action="return_value")
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else 1
    except FoldlineError as error:
        print(f"foldline: {error}", file=sys.stderr)
        return exit_code_of(error)
    return outcome if isinstance(outcome, int) else 0


def commands() -> "App":
    """The parser of all commands."""
    from cyclopts import App, Parameter

    app = App(
        name="foldline",
        version=VERSION,
        help=overview.ABOUT,
        help_epilogue=overview.EXIT_CODES.replace("\n", " "),
        help_formatter="plain",
        # Markdown would be parsed by a library that takes longer to import than all else together.
        help_format="plaintext",
        default_parameter=Parameter(negative=()),
    )
    for name, about in overview.COMMANDS.items():
        # Named, not imported: a command loads only what it needs.
        app.command(f"foldline.cli.{name}:app", name=name, help=about)
    return app


def exit_code_of(error: Exception) -> int:
    from foldline import errors

    codes: list[tuple[type[Exception], int]] = [
        (errors.Unauthorized, 3),
        (errors.NotFound, 4),
        (errors.Refused, 5),
        (errors.StaleVersion, 5),
        (errors.Invalid, 2),
    ]
    return next((code for kind, code in codes if isinstance(error, kind)), 1)
