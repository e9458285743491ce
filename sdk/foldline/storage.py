"""Files by their address, as local copies: `foldline://blobs/...`, http(s) and plain paths; others through fsspec."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from foldline import compat, formats
from foldline.caching import cache_dir
from foldline.errors import FoldlineError

if TYPE_CHECKING:
    from foldline.client import Client


class StorageManager:
    """Local copies of remote files."""

    @classmethod
    def get_local_copy(
        cls,
        remote_url: str,
        cache_context: str | None = None,
        extract_archive: bool = True,
        name: str | None = None,
        force_download: bool = False,
    ) -> str:
        """The path of a local copy of `remote_url`, cached; a .zip is unpacked unless told otherwise.

        Raises FoldlineError when it cannot be had.
        """
        from foldline.client import shared

        compat.ignored("StorageManager.get_local_copy", cache_context=cache_context, name=name)
        path = fetch_url(remote_url, shared(), force=force_download)
        if extract_archive and path.suffix == ".zip" and path.is_relative_to(cache_dir()):
            return str(formats.extract(path, path.with_suffix("")))
        return str(path)


def fetch_url(url: str, client: "Client", *, force: bool = False) -> Path:
    """The local file of `url`. What lies under a hash in the cache is not asked for again, unless `force`."""
    parts = urlsplit(url)
    match parts.scheme:
        case "foldline":
            return _blob(url, client, force)
        case "http" | "https":
            return _download(url, force)
        case "" | "file":
            path = Path(unquote(parts.path) if parts.scheme else url)
            if not path.exists():
                raise FoldlineError(f"there is no file {path}")
            return path
        case scheme if len(scheme) == 1:  # a drive letter
            return Path(url)
        case _:
            return _through_fsspec(url, force)


def _blob(url: str, client: "Client", force: bool) -> Path:
    kind, _, rest = url.removeprefix("foldline://").partition("/")
    sha256, _, filename = rest.partition("/")
    if kind != "blobs" or len(sha256) != 64:
        raise FoldlineError(f"{url} is no address of a blob: those read foldline://blobs/<sha256>/<name>")
    # The name comes from whoever uploaded it, and decides nothing but the last part of a path in our cache.
    name = Path(unquote(filename)).name or "data"
    target = cache_dir("blobs", sha256) / name
    if force or not target.exists():
        client.blobs.get(sha256, target)
    return target


def _download(url: str, force: bool) -> Path:
    import httpx2

    target = _cached(url)
    if force or not target.exists():
        part = target.with_name(f".{target.name}.part")
        try:
            with httpx2.stream("GET", url, follow_redirects=True, timeout=60) as response:
                response.raise_for_status()
                with part.open("wb") as file:
                    for piece in response.iter_bytes():
                        file.write(piece)
            part.replace(target)
        except httpx2.HTTPError as why:
            raise FoldlineError(f"cannot fetch {url}: {why}") from why
        finally:
            part.unlink(missing_ok=True)
    return target


def _through_fsspec(url: str, force: bool) -> Path:
    try:
        import fsspec  # pyright: ignore
    except ImportError:
        raise FoldlineError(f"{url} needs fsspec: pip install 'foldline[storage]'") from None
    target = _cached(url)
    if force or not target.exists():
        part = target.with_name(f".{target.name}.part")
        try:
            with fsspec.open(url, "rb") as source, part.open("wb") as file:  # pyright: ignore
                while piece := source.read(1 << 20):  # pyright: ignore
                    file.write(piece)  # pyright: ignore
            part.replace(target)
        except (OSError, ValueError, ImportError) as why:
            raise FoldlineError(f"cannot fetch {url}: {why}") from why
        finally:
            part.unlink(missing_ok=True)
    return target


def _cached(url: str) -> Path:
    name = Path(unquote(urlsplit(url).path)).name or "data"
    return cache_dir("urls", hashlib.sha256(url.encode()).hexdigest()[:32]) / name
