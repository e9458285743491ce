"""`foldline task`: what one does with tasks."""

from pathlib import Path

from cyclopts import App

from foldline.cli.connection import connected
from foldline.cli.naming import task_id
from foldline.cli.output import Column, Format, show, show_one, took, when

app = App(name="task", help="List and show tasks, and read their logs and plots.")

TASKS: list[Column] = [
    ("id", lambda task: task["id"]),
    ("name", lambda task: task["name"]),
    ("project", lambda task: task["project"]),
    ("type", lambda task: task["type"]),
    ("status", lambda task: task["status"]),
    ("queue", lambda task: task["queue"]),
    ("created", lambda task: when(task["created_at"])),
    ("took", lambda task: took(task["started_at"], task["ended_at"])),
    ("reason", lambda task: task["reason"]),
]
FIELDS: list[Column] = [
    *((name, lambda task, name=name: task[name]) for name in ("id", "name", "project", "type", "status", "reason")),
    ("version", lambda task: task["version"]),
    ("queue", lambda task: task["queue"]),
    ("run", lambda task: task["run_id"]),
    ("step", lambda task: task["step"]),
    ("cloned from", lambda task: task["cloned_from"]),
    ("attempts", lambda task: task["attempt"]),
    ("created", lambda task: when(task["created_at"])),
    ("started", lambda task: when(task["started_at"])),
    ("ended", lambda task: when(task["ended_at"])),
    ("script", lambda task: task["script"]["function"] or task["script"]["entry_point"]),
    (
        "parameters",
        lambda task: [
            f"{section}/{name}={entry['value']}"
            for section, entries in task["hyperparameters"].items()
            for name, entry in entries.items()
        ],
    ),
    ("artifacts", lambda task: [f"{name} ({one['size']} B)" for name, one in task["artifacts"].items()]),
    ("tags", lambda task: task["tags"]),
]


@app.command
def ls(
    *,
    project: str | None = None,
    name: str | None = None,
    status: list[str] | None = None,
    tag: list[str] | None = None,
    type: list[str] | None = None,
    limit: int = 30,
    output: Format = "table",
) -> None:
    """List tasks, the newest first."""
    with connected() as client:
        found = client.tasks.list(project=project, name=name, status=status, tag=tag, type=type, limit=limit)
        show(found, TASKS, output)


@app.command(name="show")
def show_(task: str, *, output: Format = "table") -> None:
    """Show a task.

    Parameters
    ----------
    task
        Its id, or the beginning of it.
    """
    with connected() as client:
        show_one(client.tasks.get(task_id(client, task)), FIELDS, output)


@app.command
def plots(task: str, *, save: Path | None = None, output: Format = "table") -> None:
    """List what a task has drawn: figures, tables, pictures and media.

    Parameters
    ----------
    save
        A folder to save them in, as files named title/series/iteration.
    """
    from foldline.cli.plots import PLOTS, save_plots

    with connected() as client:
        found = client.plots.list(task_id(client, task))
        if save is None:
            show(found, PLOTS, output, identity="url")
        else:
            save_plots(client, found, save)


@app.command
def logs(task: str, *, attempt: int | None = None, follow: bool = False) -> None:
    """Print what a task wrote.

    Parameters
    ----------
    attempt
        Which attempt; the last one otherwise.
    follow
        Stay and print what comes, until the attempt has ended.
    """
    from foldline.cli.logs import print_log

    with connected() as client:
        print_log(client, task_id(client, task), attempt=attempt, follow=follow)
