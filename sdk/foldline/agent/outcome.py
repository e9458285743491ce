"""How an attempt ended, in the words of a report: status, and a reason a person can use."""

import re
import signal
from pathlib import Path
from typing import Final

REASON_LENGTH: Final = 500
TAIL: Final = 64 * 1024

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_HEADER = "Traceback (most recent call last):"
# A script that does not even compile gets no header, only the error's line.
_ERROR_LINE = re.compile(r"(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception)(?:: .*)?")
# An exception group draws its tracebacks inside a frame: "  | ExceptionGroup: two went wrong (2 sub-exceptions)".
_FRAME = re.compile(r"^ *[|+] ?(?:-+ ?)?")


def judge(returncode: int, output: Path) -> tuple[str, str]:
    """Status and reason of a process that ended by itself with `returncode`; negative means a signal."""
    if returncode == 0:
        return "completed", ""
    if returncode < 0:
        return "failed", f"killed by {_signal_name(-returncode)}"
    # Python ends with 1 after an exception that nobody caught; other codes were chosen by the program.
    said = last_traceback_line(tail(output)) if returncode == 1 else ""
    return "failed", said or f"exit code {returncode}"


def tail(output: Path) -> str:
    """The end of the output as text. Bytes that are not UTF-8 become replacement characters, here only."""
    try:
        with output.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - TAIL))
            return file.read(TAIL).decode("utf-8", "replace")
    except FileNotFoundError:
        return ""


def last_traceback_line(text: str) -> str:
    """The line of the last traceback in `text` that names the exception, at most 500 characters; "" without one."""
    lines = _COLOUR.sub("", text).splitlines()
    headers = [number for number, line in enumerate(lines) if line.endswith(_HEADER)]
    if headers:
        return _exception_after(lines, _outermost(lines, headers))[:REASON_LENGTH]
    last = last_line(text)
    return last if _ERROR_LINE.fullmatch(last) else ""


def last_line(text: str) -> str:
    """The last line of `text` that is not empty, at most 500 characters."""
    lines = _COLOUR.sub("", text).splitlines()
    return next((line for line in reversed(lines) if line.strip()), "")[:REASON_LENGTH]


def _outermost(lines: list[str], headers: list[int]) -> int:
    """The last header that is not one of an exception group's members."""
    outside = [number for number in headers if not lines[number].startswith("    ")]
    return outside[-1] if outside else headers[-1]


def _exception_after(lines: list[str], header: int) -> str:
    framed = lines[header].startswith(" ")
    for line in lines[header + 1 :]:
        inner = _FRAME.sub("", line) if framed else line
        # Frames and their source lines are indented; the exception is the first that is not.
        if inner.strip() and not inner.startswith(" "):
            return inner.strip()
    return ""


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
