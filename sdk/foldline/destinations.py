"""Where a task's files go when not to the server: a folder of a disk that is shared, or a bucket."""

import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foldline import stores
from foldline.calls.blobs import digest_of

if TYPE_CHECKING:
    from foldline.client import Client


def destination_of(output_uri: str | os.PathLike[str] | bool | None) -> str:
    """What is kept of an `output_uri`: a folder's address; "" is the server, which True, False and None mean too.

    Raises DefinitionError for an address with a password or a signature in it: everybody reads it who sees the task.
    """
    if output_uri is None or isinstance(output_uri, bool):
        return ""
    uri = os.fspath(output_uri).strip()
    if not uri or uri.startswith("foldline://"):
        return ""
    stores.refuse_secrets(uri)
    path = stores.local_path(uri)
    # Elsewhere a relative path would be another folder.
    return uri if path is None or uri.startswith("file:") else str(path.absolute())


def folder_of(task: Mapping[str, Any], destination: str | None = None) -> str | None:
    """The folder of a task's files, by its record: below its own destination, unless another is given.

    None is the server's store.
    """
    place = destination_of(task.get("output_destination") if destination is None else destination)
    if not place:
        return None
    project = "/".join(map(_segment, str(task["project"]).split("/")))
    return f"{place.rstrip('/')}/{project}/{_segment(str(task['name']))}.{task['id']}"


def put(client: "Client", content: Path | bytes, folder: str, name: str, filename: str) -> tuple[str, str, int]:
    """Store a file, or bytes, in a folder for what is called `name`: its address, its SHA-256 and its size in bytes.

    The hash is part of the address: what was stored earlier under the same name stays as it was, for whom it was given
    to, and whoever reads it by its address alone can check it.
    """
    if isinstance(content, bytes):
        with tempfile.TemporaryDirectory(prefix="foldline-") as made:
            path = Path(made, "content")
            path.write_bytes(content)
            return put(client, path, folder, name, filename)
    sha256, size = digest_of(content)
    inside = "/".join(map(_segment, name.split("/")))
    target = f"{folder}/{inside}/{stores.DIGEST}{sha256}/{_segment(filename)}"
    url = stores.store_of(target, client).write(content, target)
    local = stores.local_path(url)
    return url if local is None else local.absolute().as_uri(), sha256, size


def _segment(name: str) -> str:
    """A name as one part of an address, in which nothing means anything else to any kind of store."""
    safe = re.sub(r"[^\w.\- ]", "_", name).strip(" ")
    return safe if safe.strip(".") else "_"
