"""What `foldline --help` says, as plain text."""

ABOUT = """\
Pipelines of tasks on an event log: submit them, watch them, go back in time.

The server is FOLDLINE_URL (default http://127.0.0.1:8420), the token FOLDLINE_TOKEN."""

COMMANDS = {
    "run": "Submit, list, watch, pause, stop, replay and verify runs; judge steps.",
    "task": "List and show tasks, and read their logs.",
    "dataset": "List datasets and their files, and get copies.",
    "queue": "List, create, pause and resume queues.",
    "agent": "Start an agent on this machine, or list agents.",
}

EXIT_CODES = """\
Exit codes: 0 done, 1 error, 2 wrong usage, 3 token missing or wrong, 4 not found, 5 the state does not allow it,
10 the run failed, 11 it was stopped, 12 it took too long, 13 verification failed, 130 interrupted."""

_ROWS = [
    *COMMANDS.items(),
    ("--help, -h", "Tell this; after a command, what that takes."),
    ("--version", "The version."),
]

TEXT = f"""\
Usage: foldline COMMAND

{ABOUT}

Commands:
{"".join(f"  {name}: {about}" + chr(10) for name, about in _ROWS)}
{EXIT_CODES}
"""
