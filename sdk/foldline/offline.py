"""Offline mode: a task without a server, whose session is carried to one later."""

import os
from pathlib import Path
from typing import Final

from foldline import process
from foldline.errors import FoldlineError
from foldline.handle import TaskHandle
from foldline.sessions import folder_of

ON: Final = "1"


class WithOffline(TaskHandle):
    """Task's methods about offline mode."""

    @classmethod
    def set_offline(cls, offline_mode: bool = False) -> None:
        """Before Task.init: keep what this process's tasks say in a folder, and ask no server.

        FOLDLINE_OFFLINE_MODE=1 does the same. A process that an agent started has a server: there it changes nothing.
        Raises FoldlineError when this process is a task already.
        """
        if process.given_by_agent() or bool(offline_mode) == process.offline():
            return
        if (task := process.task_id()) is not None:
            raise FoldlineError(f"this process is task {task} already: call Task.set_offline() before Task.init")
        if offline_mode:
            os.environ[process.OFFLINE] = ON
        else:
            os.environ.pop(process.OFFLINE, None)

    @classmethod
    def is_offline(cls) -> bool:
        return process.offline()

    def get_offline_mode_folder(self) -> Path | None:
        """The folder of its session, beside which it lies as a .zip once the task has ended; None with a server."""
        folder = folder_of(self.id)
        return folder if folder.is_dir() else None

    @classmethod
    def import_offline_session(
        cls, session_folder_zip: str, previous_task_id: str | None = None, iteration_offset: int | None = 0
    ) -> str:
        """Tell the server what a session's folder or .zip holds, as a new task; its id comes back.

        With `previous_task_id` it becomes a further attempt of that task.
        Iterations are counted from `iteration_offset` on. Raises FoldlineError while offline mode is on, and for what
        is no session or has been damaged.
        """
        from foldline.offline_import import import_session

        if process.offline():
            raise FoldlineError(
                "offline mode is on: call Task.set_offline(False), or unset FOLDLINE_OFFLINE_MODE, first"
            )
        return import_session(Path(session_folder_zip).expanduser(), previous_task_id, int(iteration_offset or 0))
