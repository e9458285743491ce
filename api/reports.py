"""Who may report about a task, and what a browser is shown of what was reported."""

import re
from typing import Final
from urllib.parse import quote

from api.controllers import task_of
from controller.reading import Reader
from domain.refused import Refused

# What a browser may take a blob for. Everything else is a file to save.
VIEWABLE: Final = {
    "avif": "image/avif",
    "bmp": "image/bmp",
    "gif": "image/gif",
    "ico": "image/x-icon",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "png": "image/png",
    "svg": "image/svg+xml",
    "webp": "image/webp",
    "mp4": "video/mp4",
    "mov": "video/quicktime",
    "ogv": "video/ogg",
    "webm": "video/webm",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "m4a": "audio/mp4",
    "mp3": "audio/mpeg",
    "oga": "audio/ogg",
    "ogg": "audio/ogg",
    "wav": "audio/wav",
    "json": "application/json",
    "csv": "text/plain; charset=utf-8",
    "log": "text/plain; charset=utf-8",
    "md": "text/plain; charset=utf-8",
    "txt": "text/plain; charset=utf-8",
    "htm": "text/html; charset=utf-8",
    "html": "text/html; charset=utf-8",
}
OPAQUE: Final = "application/octet-stream"
_USUAL_NAMES: Final = {
    "plotly": "figure.json",
    "table": "table.json",
    "image": "image.png",
    "text": "text.txt",
    "html": "page.html",
}


def check_reporter(reader: Reader, task_id: str, attempt: int = 0) -> None:
    """Raises Unknown when there is no such task or run, and Refused when `attempt` of the task is over; 0 is none."""
    task = task_of(reader, task_id)
    if attempt and (attempt != task.attempt or task.attempts[-1].status == "lost"):
        raise Refused(f"Attempt {attempt} of task {task.name!r} is over: it can report nothing any more.")


def view_address(sha256: str, kind: str, filename: str) -> str:
    """The path under which a browser can view a blob that was reported as `kind`."""
    name = re.sub(r"[^\w.-]+", "_", filename).lstrip(".") or _USUAL_NAMES.get(kind, "file")
    return f"/api/v1/blobs/{sha256}/{quote(name)}"


def media_type_of(filename: str) -> str:
    return VIEWABLE.get(filename.rpartition(".")[2].lower(), OPAQUE)
