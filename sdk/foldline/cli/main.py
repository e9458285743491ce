"""The `foldline` command: parses, calls, and turns what went wrong into one line and an exit code."""

import sys
from collections.abc import Sequence

from cyclopts import App, Parameter

from foldline.version import VERSION

EXIT_CODES = (
    "Exit codes: 0 done, 1 error, 2 wrong usage, 3 token missing or wrong, 4 not found, 5 the state does not allow it, "
    "10 the run failed, 11 it was stopped, 12 it took too long, 13 verification failed, 130 interrupted."
)

app = App(
    name="foldline",
    version=VERSION,
    help="Pipelines of tasks on an event log: submit them, watch them, go back in time.\n\n"
    "The server is FOLDLINE_URL (default http://127.0.0.1:8420), the token FOLDLINE_TOKEN.",
    help_epilogue=EXIT_CODES,
    help_formatter="plain",
    default_parameter=Parameter(negative=()),
)
# Named, not imported: a command loads only what it needs.
app.command(
    "foldline.cli.run:app", name="run", help="Submit, list, watch, pause, stop, replay and verify runs; judge steps."
)
app.command("foldline.cli.task:app", name="task", help="List and show tasks, and read their logs.")
app.command("foldline.cli.dataset:app", name="dataset", help="List datasets and their files, and get copies.")
app.command("foldline.cli.queue:app", name="queue", help="List, create, pause and resume queues.")
app.command("foldline.cli.agent:app", name="agent", help="Start an agent on this machine, or list agents.")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and end the process with its exit code."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command; its exit code. Errors of ours are one line on stderr."""
    from foldline.errors import FoldlineError

    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        outcome = app(words, result_action="return_value")
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else 1
    except FoldlineError as error:
        print(f"foldline: {error}", file=sys.stderr)
        return exit_code_of(error)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has seen enough; Python would complain at exit
        return 0
    except KeyboardInterrupt:
        return 130
    return outcome if isinstance(outcome, int) else 0


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
