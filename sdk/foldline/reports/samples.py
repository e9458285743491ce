"""Logger's methods about pictures and media: files, arrays, streams, figures of matplotlib."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from foldline import compat
from foldline.errors import DefinitionError
from foldline.reports.pictures import png_of, png_of_figure
from foldline.reports.sending import Sending
from foldline.stores import BLOBS, name_of

IMAGES: Final = frozenset([".avif", ".bmp", ".gif", ".ico", ".jpeg", ".jpg", ".png", ".svg", ".tif", ".tiff", ".webp"])
KINDS: Final = {".html": "html", ".htm": "html", ".txt": "text", ".log": "text", ".md": "text"}


class WithSamples(Sending):
    """What is reported is kept as it is now, so that an array may be used again and a file may go."""

    def report_image(
        self,
        title: str,
        series: str,
        iteration: int | None = None,
        local_path: str | None = None,
        image: Any = None,
        matrix: Any = None,
        max_image_history: int | None = None,
        delete_after_upload: bool = False,
        url: str | None = None,
    ) -> None:
        """One of: a file, an array or PIL image (`matrix` is its older name), the address of a picture.

        Arrays are height x width, or height x width x colours; floats of at most 1 are 0 to 1, other numbers 0 to 255.
        `max_image_history` keeps that many iterations of this title and series; all when it is None or negative.
        """
        keep = self._keep(max_image_history)
        if sum(source is not None for source in (local_path or None, image, matrix, url or None)) != 1:
            raise DefinitionError("report_image() takes one of local_path, image, matrix and url")
        if url:
            self._report_url(title, series, iteration, "image", url, keep=keep)
        elif local_path:
            self._report_local(title, series, iteration, lambda suffix: "image", local_path, keep, delete_after_upload)
        else:
            content = png_of(matrix if image is None else image)
            self._report_bytes(
                title, series, iteration, "image", "image.png", content, keep=keep, destination=self._destination
            )

    def report_image_and_upload(
        self,
        title: str,
        series: str,
        iteration: int | None = None,
        path: str | None = None,
        matrix: Any = None,
        max_image_history: int | None = None,
        delete_after_upload: bool = False,
    ) -> None:
        """The older name of `report_image`."""
        self.report_image(
            title,
            series,
            iteration,
            local_path=path,
            image=matrix,
            max_image_history=max_image_history,
            delete_after_upload=delete_after_upload,
        )

    def report_media(
        self,
        title: str,
        series: str,
        iteration: int | None = None,
        local_path: str | None = None,
        stream: Any = None,
        file_extension: str | None = None,
        max_history: int | None = None,
        delete_after_upload: bool = False,
        url: str | None = None,
    ) -> None:
        """Pictures, sound, films, text or HTML. One of: a file, a stream with its `file_extension`, an address."""
        keep = self._keep(max_history)
        if sum(source is not None for source in (local_path or None, stream, url or None)) != 1:
            raise DefinitionError("report_media() takes one of local_path, stream and url")
        if url:
            self._report_url(title, series, iteration, _kind_of(Path(name_of(url)).suffix), url, keep=keep)
        elif local_path:
            self._report_local(title, series, iteration, _kind_of, local_path, keep, delete_after_upload)
        else:
            if not file_extension:
                raise DefinitionError("a stream needs a file_extension that says what it holds, such as 'wav'")
            suffix = f".{file_extension.lstrip('.')}"
            content = _bytes_of(stream)
            self._report_bytes(
                title,
                series,
                iteration,
                _kind_of(suffix),
                f"media{suffix}",
                content,
                keep=keep,
                destination=self._destination,
            )

    def report_matplotlib_figure(
        self,
        title: str,
        series: str,
        figure: Any,
        iteration: int | None = None,
        report_image: bool = False,
        report_interactive: bool = True,
    ) -> None:
        """A matplotlib figure, or pyplot for its current one, as the picture it is."""
        compat.ignored(
            "Logger.report_matplotlib_figure", report_image=report_image, report_interactive=report_interactive
        )
        self._report_bytes(title, series, iteration, "image", "figure.png", png_of_figure(figure))

    def set_default_upload_destination(self, uri: str) -> None:
        """Where pictures and media of this logger go from now on, such as s3://bucket/folder or file:///tmp/debug."""
        self._destination = None if uri.startswith(BLOBS) else uri

    def get_default_upload_destination(self) -> str:
        return self._destination or BLOBS

    def set_default_debug_sample_history(self, max_history: int) -> None:
        """How many iterations of a title and series of pictures or media are kept; all of them when negative."""
        self._history = int(max_history)

    def get_default_debug_sample_history(self) -> int:
        """-1 when all are kept."""
        return -1 if self._history is None else self._history

    def _keep(self, given: int | None) -> int | None:
        history = self._history if given is None else int(given)
        return history if history is not None and history > 0 else None

    def _report_local(
        self,
        title: str,
        series: str,
        iteration: int | None,
        kind_of: Callable[[str], str],
        local_path: str,
        keep: int | None,
        delete: bool,
    ) -> None:
        path = Path(local_path).expanduser()
        if not path.is_file():
            raise DefinitionError(f"there is no file {local_path} to report")
        self._report_file(title, series, iteration, kind_of(path.suffix), path, keep=keep)
        if delete:
            path.unlink()


def _kind_of(suffix: str) -> str:
    lowered = suffix.lower()
    return "image" if lowered in IMAGES else KINDS.get(lowered, "media")


def _bytes_of(stream: Any) -> bytes:
    whole = getattr(stream, "getvalue", None)
    content: Any = whole() if callable(whole) else stream.read()
    return content.encode() if isinstance(content, str) else bytes(content)
