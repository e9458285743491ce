"""Printing a task's log: bytes as they were written, whatever they are."""

import sys

from foldline.client import Client


def print_log(client: Client, task_id: str, *, attempt: int | None, follow: bool) -> None:
    out = sys.stdout.buffer
    pieces = client.tasks.follow_logs(task_id, attempt=attempt) if follow else _so_far(client, task_id, attempt)
    for piece in pieces:
        out.write(piece.encode() if isinstance(piece, str) else piece)
        out.flush()


def _so_far(client: Client, task_id: str, attempt: int | None):
    offset = 0
    while True:
        piece, after = client.tasks.logs(task_id, attempt=attempt, offset=offset)
        if not piece:
            return
        yield piece
        offset = after
