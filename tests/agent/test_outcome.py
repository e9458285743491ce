import traceback

import pytest

from foldline.agent.outcome import judge, last_traceback_line, tail


def printed(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


def raised(error: Exception, cause: Exception | None = None) -> Exception:
    try:
        raise error from cause
    except Exception as caught:
        return caught


PLAIN = printed(raised(ValueError("a")))
CHAIN = printed(raised(KeyError("b"), raised(ValueError("a"))))
GROUP = printed(raised(ExceptionGroup("two went wrong", [raised(ValueError("a")), raised(KeyError("b"))])))

SYNTAX = '  File "x.py"\n    (\n    ^\nSyntaxError: never closed\n'
COLOURED = "\x1b[35mTraceback (most recent call last):\x1b[0m\n\x1b[1mE: a\x1b[0m\n"


@pytest.mark.parametrize(
    ("returncode", "output", "verdict"),
    [
        pytest.param(0, PLAIN, ("completed", ""), id="completed, whatever it printed"),
        pytest.param(3, PLAIN, ("failed", "exit code 3"), id="a chosen code"),
        pytest.param(1, "", ("failed", "exit code 1"), id="silent"),
        pytest.param(1, "no luck\n", ("failed", "exit code 1"), id="no traceback"),
        pytest.param(1, PLAIN, ("failed", "ValueError: a"), id="a traceback"),
        pytest.param(1, "x\n" + PLAIN + "bye\n", ("failed", "ValueError: a"), id="in between"),
        pytest.param(1, printed(raised(ValueError("a\nb"))), ("failed", "ValueError: a"), id="several lines"),
        pytest.param(1, CHAIN, ("failed", "KeyError: 'b'"), id="a chain"),
        pytest.param(1, GROUP, ("failed", "ExceptionGroup: two went wrong (2 sub-exceptions)"), id="a group"),
        pytest.param(1, SYNTAX, ("failed", "SyntaxError: never closed"), id="syntax"),
        pytest.param(1, "Traceback (most recent call last):\n", ("failed", "exit code 1"), id="cut off"),
        pytest.param(1, COLOURED, ("failed", "E: a"), id="coloured"),
        pytest.param(-9, "", ("failed", "killed by SIGKILL"), id="a signal"),
        pytest.param(-15, PLAIN, ("failed", "killed by SIGTERM"), id="a signal after a traceback"),
        pytest.param(-63, "", ("failed", "killed by signal 63"), id="a signal without a name"),
    ],
)
def test_judges(tmp_path, returncode, output, verdict):
    file = tmp_path / "log"
    file.write_text(output)
    assert judge(returncode, file) == verdict


def test_a_reason_has_at_most_500_characters():
    assert last_traceback_line(printed(raised(ValueError("x" * 1000)))) == "ValueError: " + "x" * 488


def test_the_tail_of_a_long_line_that_is_not_utf8(tmp_path):
    file = tmp_path / "log"
    file.write_bytes(b"\xff" * 1_000_000)
    assert tail(file) == "\ufffd" * 65536


def test_output_that_is_not_there_is_empty(tmp_path):
    assert tail(tmp_path / "log") == ""
