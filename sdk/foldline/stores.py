"""Files by their address: on a disk, at a web server, among the server's blobs, or wherever fsspec reaches."""

import contextlib
import functools
import logging
import os
import re
import tempfile
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from foldline.errors import DefinitionError, FoldlineError, NotFound, NotSupported

if TYPE_CHECKING:
    from foldline.client import Client

PIECE: Final = 1 << 20
MEGABYTE: Final = 1 << 20
BLOBS: Final = "foldline://blobs"
# Of the part of an address that says which hash the file in it has.
DIGEST: Final = "sha256-"
# Names in the query of an address that lets in whoever has it.
SIGNATURES: Final = frozenset({"sig", "signature", "x-amz-signature", "x-goog-signature", "access_token"})

log = logging.getLogger("foldline")

_umask_lock = threading.Lock()

# Of how many megabytes each a line says that they have come or gone; None says nothing.
report_every: dict[str, int | None] = {"downloaded": None, "uploaded": None}


class Store(Protocol):
    """Where files lie whose addresses have one kind of scheme. Everything raises FoldlineError, with the reason."""

    def size(self, url: str) -> int | None:
        """In bytes; None when there is no such file."""
        ...

    def read(self, url: str, target: Path) -> None:
        """Write what is there into `target`."""
        ...

    def write(self, path: Path, url: str) -> str:
        """Put a file there; the address that it has now."""
        ...

    def remove(self, url: str) -> None: ...

    def base(self, url: str) -> str:
        """What the names in a list are relative to, without a slash at its end."""
        ...

    def list(self, url: str) -> dict[str, int]:
        """{name: bytes} of the files whose addresses begin with `url`. Raises NotSupported where none can be had."""
        ...


def store_of(url: str, client: "Client | None" = None) -> Store:
    """The store of an address. `client` is asked for blobs; by default the one of the environment."""
    match urlsplit(url).scheme:
        case "foldline":
            return _Blobs(client)
        case "http" | "https":
            return _Web()
        case "" | "file":
            return _Disk()
        case scheme if len(scheme) == 1:  # a drive letter
            return _Disk()
        case _:
            return _Elsewhere()


def check_at_hand(url: str) -> None:
    """Raises FoldlineError when files cannot be put there for want of a package."""
    if url and isinstance(store := store_of(url), _Elsewhere):
        store.check(url)


def local_path(url: str) -> Path | None:
    """The path that an address of this machine's disk means; None for any other address."""
    parts = urlsplit(url)
    if parts.scheme == "file":
        return Path(unquote(parts.netloc + parts.path))
    return Path(url).expanduser() if len(parts.scheme) < 2 else None


def name_of(url: str) -> str:
    """The last part of an address, as the name of a file."""
    return Path(unquote(urlsplit(url).path)).name or "data"


def blob_of(url: str) -> tuple[str, str]:
    """(SHA-256, file name) of a blob's address. Raises FoldlineError for any other."""
    kind, _, rest = url.removeprefix("foldline://").partition("/")
    sha256, _, filename = rest.partition("/")
    if kind != "blobs" or len(sha256) != 64:
        raise FoldlineError(f"{url} is no address of a blob: those read {BLOBS}/<sha256>/<name>")
    # The name comes from whoever uploaded it, and decides nothing but the last part of a path in our cache.
    return sha256, Path(unquote(filename)).name or "data"


def digest_in(url: str) -> str | None:
    """The SHA-256 that the address itself promises; None when it promises none."""
    parts = urlsplit(url).path.split("/")
    said = parts[-2].removeprefix(DIGEST) if len(parts) > 1 and parts[-2].startswith(DIGEST) else ""
    return said if re.fullmatch("[0-9a-f]{64}", said) else None


def refuse_secrets(url: str) -> None:
    """Raises DefinitionError for an address that says a password or a signature: what is recorded is never erased."""
    if local_path(url) is not None:
        return
    parts = urlsplit(url)
    names = {name.lower() for name, _ in parse_qsl(parts.query, keep_blank_values=True)}
    if parts.password is not None or names & SIGNATURES:
        raise DefinitionError(
            f"the address at {parts.hostname or parts.scheme} has a password or signature in it, which would be on "
            "record for ever: keep those in the environment or the configuration of the storage's own library"
        )


@contextlib.contextmanager
def whole_or_not(target: Path) -> Generator[Path, None, None]:
    """A path beside `target` to write to, which takes its place when all went well: nobody sees half a file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name[:50]}.", dir=target.parent)
    os.close(handle)
    part = Path(name)
    try:
        yield part
        # mkstemp makes files private; these are as readable as any other file their owner makes.
        part.chmod(_usual_mode())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


@functools.cache
def _usual_mode() -> int:
    # Asked once: the umask can only be read by setting it, which two threads must not do at once.
    with _umask_lock:
        umask = os.umask(0o077)
        os.umask(umask)
    return 0o666 & ~umask


class _Disk:
    def size(self, url: str) -> int | None:
        path = self._path(url)
        return path.stat().st_size if path.is_file() else None

    def read(self, url: str, target: Path) -> None:
        with _saying(url), self._path(url).open("rb") as source, target.open("wb") as file:
            _copy(source.read, file, "downloaded", url)

    def write(self, path: Path, url: str) -> str:
        with _saying(url), path.open("rb") as source, whole_or_not(self._path(url)) as part, part.open("wb") as file:
            _copy(source.read, file, "uploaded", url)
        return url

    def remove(self, url: str) -> None:
        with _saying(url):
            self._path(url).unlink(missing_ok=True)

    def base(self, url: str) -> str:
        path = self._path(url)
        return (path if path.is_dir() else path.parent).as_posix().rstrip("/")

    def list(self, url: str) -> dict[str, int]:
        base = Path(self.base(url) or "/")
        start = "" if self._path(url) == base else self._path(url).name
        found = sorted(path for path in base.rglob("*") if path.is_file())
        names = {path.relative_to(base).as_posix(): path.stat().st_size for path in found}
        return {name: size for name, size in names.items() if name.startswith(start)}

    @staticmethod
    def _path(url: str) -> Path:
        path = local_path(url)
        assert path is not None, "a store is only asked for its own addresses"
        return path


class _Web:
    def size(self, url: str) -> int | None:
        import httpx2

        with _saying(url):
            response = httpx2.head(url, follow_redirects=True, timeout=60)
            if response.is_success and "Content-Length" in response.headers:
                return int(response.headers["Content-Length"])
            # Some servers tell the size only of what they send, and some not even then.
            with httpx2.stream("GET", url, follow_redirects=True, timeout=60) as response:
                if response.status_code in (404, 410):
                    return None
                response.raise_for_status()
                length = response.headers.get("Content-Length")
                return int(length) if length else sum(map(len, response.iter_bytes(PIECE)))

    def read(self, url: str, target: Path) -> None:
        import httpx2

        with _saying(url), httpx2.stream("GET", url, follow_redirects=True, timeout=60) as response:
            response.raise_for_status()
            pieces = response.iter_bytes(PIECE)
            with target.open("wb") as file:
                _copy(lambda _: next(pieces, b""), file, "downloaded", url)

    def write(self, path: Path, url: str) -> str:
        import httpx2

        with _saying(url), path.open("rb") as source:
            size = str(path.stat().st_size)
            httpx2.put(url, content=source, headers={"Content-Length": size}, timeout=60).raise_for_status()
        return url

    def remove(self, url: str) -> None:
        import httpx2

        with _saying(url):
            httpx2.delete(url, timeout=60).raise_for_status()

    def base(self, url: str) -> str:
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.netloc}"

    def list(self, url: str) -> dict[str, int]:
        raise NotSupported(f"a web server does not tell which files it has, so {url} cannot be listed")


class _Blobs:
    """Files under their own SHA-256: where one is put is decided by what it holds, and nothing is taken away."""

    def __init__(self, client: "Client | None") -> None:
        from foldline.client import shared

        self._client = client or shared()

    def size(self, url: str) -> int | None:
        try:
            answer = self._client.request("HEAD", f"blobs/{blob_of(url)[0]}")
        except NotFound:
            return None
        return int(answer.headers.get("Content-Length") or 0)

    def read(self, url: str, target: Path) -> None:
        self._client.blobs.get(blob_of(url)[0], target)

    def write(self, path: Path, url: str) -> str:
        sha256, _ = self._client.blobs.put_file(path)
        return f"{BLOBS}/{sha256}/{quote(name_of(url) if urlsplit(url).path.strip('/') else path.name, safe='')}"

    def remove(self, url: str) -> None:
        raise NotSupported(f"{url} stays: the history of every task that names it would lose its data")

    def base(self, url: str) -> str:
        return BLOBS

    def list(self, url: str) -> dict[str, int]:
        raise NotSupported("blobs are found by the artifacts, models and datasets that name them, not by listing")


class _Elsewhere:
    """Buckets and whatever else fsspec, when it is installed, knows by the scheme."""

    def size(self, url: str) -> int | None:
        with _saying(url):
            system, path = self._open(url)
            return int(system.size(path) or 0) if system.isfile(path) else None

    def read(self, url: str, target: Path) -> None:
        with _saying(url):
            system, path = self._open(url)
            with system.open(path, "rb") as source, target.open("wb") as file:
                _copy(source.read, file, "downloaded", url)

    def write(self, path: Path, url: str) -> str:
        with _saying(url):
            system, remote = self._open(url)
            system.makedirs(remote.rpartition("/")[0], exist_ok=True)
            with path.open("rb") as source, system.open(remote, "wb") as file:
                _copy(source.read, file, "uploaded", url)
        return url

    def remove(self, url: str) -> None:
        with _saying(url):
            system, path = self._open(url)
            system.rm_file(path)

    def base(self, url: str) -> str:
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.netloc}"

    def list(self, url: str) -> dict[str, int]:
        with _saying(url):
            system, path = self._open(url)
            # A part of a name lists all that begin with it, as buckets do.
            start = path if system.isdir(path) else path.rpartition("/")[0]
            found: dict[str, Any] = system.find(start, detail=True)
            root = self._open(self.base(url))[1].strip("/")
            names = {name.strip("/"): int(facts.get("size") or 0) for name, facts in found.items()}
            wanted = path.strip("/")
            return {
                name.removeprefix(root).strip("/"): size
                for name, size in sorted(names.items())
                if name.startswith(wanted)
            }

    def check(self, url: str) -> None:
        """Raises FoldlineError without fsspec, or without what fsspec needs for this kind of address."""
        with _saying(url):
            self._open(url)

    @staticmethod
    def _open(url: str) -> tuple[Any, str]:
        try:
            from fsspec.core import url_to_fs  # pyright: ignore
        except ImportError:
            raise FoldlineError(f"{url} needs fsspec: pip install 'foldline[storage]'") from None
        system, path = url_to_fs(url)  # pyright: ignore
        return system, str(path)  # pyright: ignore


@contextlib.contextmanager
def _saying(url: str) -> Generator[None, None, None]:
    """Whatever a store says no with, as one error of ours that names the address."""
    import httpx2

    try:
        yield
    except FoldlineError:
        raise
    except FileNotFoundError:
        raise FoldlineError(f"there is no file {url}") from None
    except (OSError, ValueError, ImportError, httpx2.HTTPError, httpx2.InvalidURL) as why:
        raise FoldlineError(f"cannot reach {url}: {why or type(why).__name__}") from why


def _copy(read: Callable[[int], bytes], file: IO[bytes], verb: str, url: str) -> None:
    done, said = 0, 0
    every = report_every[verb]
    while piece := read(PIECE):
        file.write(piece)
        done += len(piece)
        if every and done - said >= every * MEGABYTE:
            said = done
            log.info("%s: %d MB %s", url, done // MEGABYTE, verb)
