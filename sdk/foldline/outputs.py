"""What a task puts out: artifacts, scalars, text."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from foldline import compat, formats
from foldline.artifacts import Artifacts, upload
from foldline.errors import DefinitionError
from foldline.handle import TaskHandle
from foldline.logger import Logger, logger_of


class WithOutputs(TaskHandle):
    """Task's methods about artifacts and metrics."""

    @property
    def artifacts(self) -> Artifacts:
        """By name, read from the server now."""
        self.reload()
        return Artifacts(self.data["artifacts"], self._client)

    def upload_artifact(
        self,
        name: str,
        artifact_object: Any,
        metadata: Mapping[str, Any] | None = None,
        delete_after_upload: bool = False,
        auto_pickle: bool | None = None,
        preview: Any = None,
        wait_on_upload: bool = False,
        extension_name: str | None = None,
        serialization_function: Callable[[Any], bytes | bytearray] | None = None,
        retries: int = 0,
        sort_keys: bool = True,
    ) -> bool:
        """Store an object, a file or a folder under `name`; when this returns it is stored.

        JSON where it comes back equal, .npy, .csv.gz, else a pickle (`auto_pickle=False` refuses that).
        """
        compat.ignored("Task.upload_artifact", wait_on_upload=wait_on_upload, retries=retries)
        if serialization_function is not None:
            packed = formats.pack_custom(name, artifact_object, serialization_function, extension_name or "")
        else:
            chosen = _format_of(extension_name)
            packed = formats.pack(
                name,
                artifact_object,
                format=chosen,
                preview=None if preview is None else str(preview),
                sort_keys=sort_keys and formats.is_exact_json(artifact_object),
            )
        if packed.format == "pickle" and auto_pickle is False:
            raise DefinitionError(
                f"artifact {name!r} is a {packed.type}, which only a pickle can hold, and auto_pickle is False"
            )
        upload(self._client, self.id, name, packed, metadata=metadata)
        if delete_after_upload and isinstance(artifact_object, str | Path) and Path(artifact_object).is_file():
            Path(artifact_object).unlink()
        return True

    def get_logger(self) -> Logger:
        return logger_of(self._client, self.id)

    def flush(self, wait_for_uploads: bool = False) -> bool:
        """Send what was reported; whether it has arrived."""
        compat.ignored("Task.flush", wait_for_uploads=wait_for_uploads)
        return self.get_logger().flush()

    def get_last_scalar_metrics(self) -> dict[str, dict[str, dict[str, float]]]:
        """{title: {series: {"last", "min", "max", ...}}}."""
        return self._client.tasks.scalars(self.id)["last"]

    def get_last_iteration(self) -> int:
        """The highest iteration reported; 0 before the first."""
        last = self.get_last_scalar_metrics()
        return max((int(found["iteration"]) for series in last.values() for found in series.values()), default=0)

    def get_reported_scalars(self, max_samples: int = 0, x_axis: str = "iter") -> dict[str, dict[str, dict[str, Any]]]:
        """{title: {series: {"name", "x": iterations, "y": values}}}; `max_samples` evenly chosen points."""
        if x_axis != "iter":
            raise ValueError(f"x_axis is 'iter' here, not {x_axis!r}")
        return {
            title: {series: self._curve(title, series, max_samples) for series in found}
            for title, found in self.get_last_scalar_metrics().items()
        }

    def get_reported_single_values(self) -> dict[str, float]:
        """What report_single_value has said."""
        return {name: found["last"] for name, found in self.get_last_scalar_metrics().get("Summary", {}).items()}

    def get_reported_single_value(self, name: str) -> float | None:
        return self.get_reported_single_values().get(name)

    def _curve(self, title: str, series: str, most: int) -> dict[str, Any]:
        points = self._client.tasks.scalars(self.id, title=title, series=series)["points"]
        if most and len(points) > most:
            points = [points[number * (len(points) - 1) // max(most - 1, 1)] for number in range(most)]
        return {"name": series, "x": [point[0] for point in points], "y": [point[1] for point in points]}


def _format_of(extension: str | None) -> str | None:
    if extension is None:
        return None
    dotted = extension if extension.startswith(".") else f".{extension}"
    if dotted not in formats.EXTENSIONS:
        raise DefinitionError(
            f"extension_name {extension!r} is none of {', '.join(formats.EXTENSIONS)}: pass a serialization_function"
        )
    return formats.EXTENSIONS[dotted]
