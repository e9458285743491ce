"""Pictures as PNG: of arrays of numbers, by zlib alone; of PIL images and matplotlib figures, by those."""

import io
import struct
import sys
import zlib
from typing import Any, Final

from foldline.errors import DefinitionError
from foldline.reports.values import plain

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
# Gray, gray with alpha, RGB, RGBA.
COLOUR_TYPES: Final = {1: 0, 2: 4, 3: 2, 4: 6}


def png_of(image: Any) -> bytes:
    """A PNG of a PIL image or of an array: height x width, or height x width x 1 to 4 colours.

    Numbers are 0 to 255; of floats that are at most 1, 0 to 1. Raises DefinitionError for another shape.
    """
    if callable(getattr(image, "save", None)) and hasattr(image, "getbands"):  # PIL
        return _of_pil(image)
    if callable(getattr(image, "detach", None)):  # torch
        image = image.detach().cpu().numpy()
    numpy: Any = sys.modules.get("numpy")
    if numpy is not None:
        return _of_array(numpy, numpy.asarray(image))
    return _of_lists(plain(image))


def png_of_figure(figure: Any) -> bytes:
    """A PNG of a matplotlib figure; the module pyplot stands for its current figure."""
    drawn = figure.gcf() if callable(getattr(figure, "gcf", None)) else figure
    canvas = getattr(drawn, "canvas", None)
    if canvas is None:
        raise DefinitionError(f"a matplotlib figure is needed, or pyplot itself, not a {type(figure).__name__}")
    buffer = io.BytesIO()
    # What Figure.savefig calls in the end: whoever watches that sees nothing of this.
    canvas.print_figure(buffer, format="png")
    return buffer.getvalue()


def encode(width: int, height: int, channels: int, pixels: bytes) -> bytes:
    """The PNG of `pixels`, a byte for each colour of each pixel, row by row."""
    stride = width * channels
    # Each row begins with the number of its filter: none.
    raw = b"".join(b"\0" + pixels[start : start + stride] for start in range(0, height * stride, stride))
    header = struct.pack(">IIBBBBB", width, height, 8, COLOUR_TYPES[channels], 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(raw)), (b"IEND", b""))
    return SIGNATURE + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _of_pil(image: Any) -> bytes:
    buffer = io.BytesIO()
    writable = image if image.mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16") else image.convert("RGB")
    writable.save(buffer, "PNG")
    return buffer.getvalue()


def _of_array(numpy: Any, array: Any) -> bytes:
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.size == 0:
        raise _no_picture(array.shape)
    if array.shape[2] not in COLOUR_TYPES and array.shape[0] in (1, 3, 4):
        array = numpy.moveaxis(array, 0, 2)  # colours first, as torch has them
    if array.shape[2] not in COLOUR_TYPES:
        raise _no_picture(array.shape)
    if array.dtype == bool or (array.dtype.kind == "f" and numpy.nanmax(array) <= 1.0):
        array = array * 255.0
    if array.dtype != numpy.uint8:
        array = numpy.clip(numpy.nan_to_num(numpy.round(array)), 0, 255).astype(numpy.uint8)
    height, width, channels = array.shape
    return encode(width, height, channels, numpy.ascontiguousarray(array).tobytes())


def _of_lists(listed: Any) -> bytes:
    """As for arrays, where there is no numpy."""
    grid: Any = listed
    if not (isinstance(listed, list) and grid and isinstance(grid[0], list) and grid[0]):
        raise _no_picture(())
    nested = isinstance(grid[0][0], list)
    channels = len(grid[0][0]) if nested else 1
    if channels not in COLOUR_TYPES:
        raise _no_picture((len(grid), len(grid[0]), channels))
    cells: list[Any] = [value for row in grid for cell in row for value in (cell if nested else (cell,))]
    if len(cells) != len(grid) * len(grid[0]) * channels:
        raise DefinitionError("the rows of an image differ in length")
    numbers = [0.0 if cell is None else float(cell) for cell in cells]
    factor = 255 if max(numbers) <= 1 and any(isinstance(cell, float | bool) for cell in cells) else 1
    pixels = bytes(min(max(round(number * factor), 0), 255) for number in numbers)
    return encode(len(grid[0]), len(grid), channels, pixels)


def _no_picture(shape: tuple[int, ...]) -> DefinitionError:
    return DefinitionError(
        f"an image is height x width, or height x width x 1 to 4 colours; this array is {' x '.join(map(str, shape))}"
    )
