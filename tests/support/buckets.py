"""A bucket that is a dict, found as fsspec finds buckets."""

import io
import sys
from types import ModuleType
from typing import Any

import pytest


class Bucket:
    """What fsspec gives for a bucket, kept in a dict."""

    files: dict[str, bytes] = {}

    def isfile(self, path: str) -> bool:
        return path in self.files

    def isdir(self, path: str) -> bool:
        return any(name.startswith(f"{path.rstrip('/')}/") for name in self.files)

    def size(self, path: str) -> int:
        return len(self.files[path])

    def makedirs(self, path: str, exist_ok: bool) -> None:
        assert exist_ok

    def find(self, path: str, detail: bool) -> dict[str, Any]:
        assert detail
        return {name: {"size": len(data)} for name, data in self.files.items() if name.startswith(path)}

    def open(self, path: str, mode: str) -> io.BytesIO:
        if mode == "rb":
            if path not in self.files:
                raise FileNotFoundError(path)
            return io.BytesIO(self.files[path])
        files = self.files

        class Written(io.BytesIO):
            def close(self) -> None:
                files[path] = self.getvalue()
                super().close()

        return Written()


def bucket_in_place_of_fsspec(monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """The bucket that every address of a bucket leads to; `s3://b/x` is its file b/x."""
    core = ModuleType("fsspec.core")
    bucket = Bucket()
    bucket.files = {}
    core.url_to_fs = lambda url: (bucket, url.partition("://")[2])  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "fsspec", ModuleType("fsspec"))
    monkeypatch.setitem(sys.modules, "fsspec.core", core)
    return bucket
