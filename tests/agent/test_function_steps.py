"""Function steps: forked from a process that has imported their module, or in an interpreter of their own."""

import json
import os
import signal

import psutil
import pytest

from foldline.agent import spawners
from tests.agent.canned import DEADLINE, claim_for, is_gone
from tests.support.waiting import wait_until

PIPELINE = """
import os, random, subprocess, sys, threading, time
print("imported by", os.getpid())

def who():
    print("called in", os.getpid(), "from", os.getppid(), "group", os.getpgrp(), os.getcwd())

def double(n):
    return 2 * n

def oops():
    raise ValueError("too small")

def leave(code):
    sys.exit(code)

def end_by(number):
    os.kill(os.getpid(), number)

def slow():
    try:
        print(os.getpid())
        time.sleep(60)
    finally:
        print("saved")

def background():
    threading.Thread(target=lambda: (time.sleep(0.05), print("the thread's last word"))).start()

def leaves_behind():
    print(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], env={}).pid)

def lucky():
    print(random.random())

def write():
    open("made", "x").write("mine")

if __name__ == "__main__":
    raise SystemExit("the guard let it through")
"""


@pytest.fixture
def step(server):
    """Make the claim of a step that calls a function of PIPELINE."""
    source = server.store_sources({"pipeline.py": PIPELINE, "bare.py": "threads = None"})

    def make(function, *, name=None, text=None, returns=(), **arguments):
        digest = source if text is None else server.store_sources({"pipeline.py": text})
        script = {"entry_point": "pipeline.py", "working_dir": ".", "source": digest, "function": function}
        kwargs = {each: {"value": value} for each, value in arguments.items()}
        claim = claim_for(
            script | {"module": None, "returns": list(returns), "arguments": []},
            name=name or function,
            hyperparameters={"kwargs": kwargs},
        )
        return claim | {"run_id": "b" * 32, "step": function}

    return make


needs_forks = pytest.mark.skipif(not spawners.FORK_IS_SAFE, reason="functions are never forked on this system")


@pytest.fixture(params=[pytest.param("forked", marks=needs_forks), "alone"])
def way(request, monkeypatch):
    """Both ways to run a function: the user must not see a difference."""
    monkeypatch.setattr(spawners, "FORK_IS_SAFE", request.param == "forked")
    return request.param


def numbers(log: bytes, word: bytes) -> list[int]:
    words = log.split()
    return [int(words[place + 1]) for place, each in enumerate(words) if each == word]


def test_a_function_is_called_with_its_arguments_and_its_value_stored(server, start_agent, step, way):
    claim = step("double", n=21, returns=["twice"])
    server.give(claim)
    start_agent()
    [report] = server.wait_for_reports()
    assert (report["status"], report["reason"], report["exit_code"]) == ("completed", "", 0), server.log_of(claim)
    [edit] = server.edits[claim["task_id"]]
    assert edit["hyperparameters"]["return"]["twice"]["value"] == 42


@pytest.mark.parametrize(
    ("function", "arguments", "status", "reason", "code"),
    [
        pytest.param("oops", {}, "failed", "ValueError: too small", 1, id="raises"),
        pytest.param("leave", {"code": 3}, "failed", "exit code 3", 3, id="exits"),
        pytest.param("leave", {"code": None}, "completed", "", 0, id="exits with nothing"),
        pytest.param("leave", {"code": "no data"}, "failed", "exit code 1", 1, id="exits with a message"),
        pytest.param("end_by", {"number": 9}, "failed", "killed by SIGKILL", None, id="is killed"),
    ],
)
def test_a_function_ends_as_a_script_would(server, start_agent, step, way, function, arguments, status, reason, code):
    server.give(step(function, **arguments))
    start_agent()
    [report] = server.wait_for_reports()
    assert (report["status"], report["reason"], report["exit_code"]) == (status, reason, code)


def test_a_traceback_begins_in_the_users_code(server, start_agent, step, way):
    claim = step("oops")
    server.give(claim)
    start_agent()
    server.wait_for_reports()
    log = server.log_of(claim).decode()
    assert log.count("  File ") == 1, log
    assert 'pipeline.py", line' in log


def test_the_log_of_each_attempt_begins_with_what_the_import_printed(server, start_agent, step, way):
    claims = [step("who", name=str(n)) for n in range(2)]
    server.give(*claims)
    start_agent()
    server.wait_for_reports(2)
    for claim in claims:
        assert server.log_of(claim).startswith(b"imported by")
        assert server.log_of(claim).count(b"called in") == 1


@needs_forks
def test_a_module_is_imported_once_and_forked_for_each_attempt(server, start_agent, step):
    claims = [step("who", name=str(n)) for n in range(3)]
    server.give(*claims)
    start_agent(slots=3)
    server.wait_for_reports(3)
    logs = [server.log_of(claim) for claim in claims]
    assert len({tuple(numbers(log, b"by")) for log in logs}) == 1, "one import"
    assert numbers(logs[0], b"by") == numbers(logs[0], b"from"), "whose process is the parent"
    assert len({log.split()[-1] for log in logs}) == 3, "a folder each"
    for log in logs:
        assert numbers(log, b"in") == numbers(log, b"group"), "a group of its own"


def test_other_sources_are_another_import(server, start_agent, step):
    claims = [step("who"), step("who", name="newer", text=PIPELINE + "# edited")]
    server.give(*claims)
    start_agent()
    server.wait_for_reports(2)
    first, second = (numbers(server.log_of(claim), b"by") for claim in claims)
    assert first != second


def test_forked_attempts_draw_different_numbers_and_write_different_files(server, start_agent, step):
    lucky = [step("lucky", name=f"lucky {n}") for n in range(2)]
    write = [step("write", name=f"write {n}") for n in range(2)]
    server.give(*lucky, *write)
    start_agent()
    reports = server.wait_for_reports(4)
    assert {report["status"] for report in reports} == {"completed"}
    first, second = (server.log_of(claim).split()[-1] for claim in lucky)
    assert first != second


def test_threads_of_the_function_have_their_say(server, start_agent, step, way):
    claim = step("background")
    server.give(claim)
    start_agent()
    server.wait_for_reports()
    assert server.log_of(claim).endswith(b"the thread's last word\n")


def test_what_a_function_leaves_in_its_group_is_ended(server, start_agent, step, way):
    claim = step("leaves_behind")
    server.give(claim)
    start_agent()
    [report] = server.wait_for_reports()
    assert report["status"] == "completed", server.log_of(claim)
    # Without a mark in its environment, so that no sweep of strays can have found it.
    left = int(server.log_of(claim).split()[-1])
    wait_until(lambda: is_gone(left), "the end of the background process", DEADLINE)


def test_a_stopped_function_may_save_its_work(server, start_agent, step, way):
    claim = step("slow")
    server.give(claim)
    start_agent()
    wait_until(lambda: server.log_of(claim).count(b"\n") >= 2, "its pid", DEADLINE)
    server.stop(claim)
    [report] = server.wait_for_reports()
    assert (report["status"], report["reason"]) == ("stopped", "stop requested by ana")
    assert server.log_of(claim).endswith(b"saved\n")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("1 / 0", "ZeroDivisionError: division by zero", id="an exception"),
        pytest.param("import os; os.kill(os.getpid(), 11)", "killed by SIGSEGV", id="a crash"),
        pytest.param("x = 1", "foldline.errors.FoldlineError: there is no function 'who'", id="no such function"),
    ],
)
def test_what_goes_wrong_in_the_import_is_in_the_attempts_own_log_and_reason(server, start_agent, step, text, reason):
    claim = step("who", text="print('begin')\n" + text)
    server.give(claim)
    start_agent()
    [report] = server.wait_for_reports()
    assert report["status"] == "failed"
    assert report["reason"].startswith(reason)
    assert server.log_of(claim).startswith(b"begin\n")


def test_an_import_that_starts_threads_is_never_forked(server, start_agent, step):
    text = "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n" + PIPELINE
    claims = [step("who", text=text, name=str(n)) for n in range(2)]
    server.give(*claims)
    start_agent()
    reports = server.wait_for_reports(2)
    assert {report["status"] for report in reports} == {"completed"}
    logs = [server.log_of(claim) for claim in claims]
    assert all(numbers(log, b"by") == numbers(log, b"in") for log in logs), "imported and called in one process"
    assert all(numbers(log, b"from") == [os.getpid()] for log in logs), "which the agent has started"


@needs_forks
def test_a_spawner_that_dies_fails_its_attempts_and_is_replaced(server, start_agent, step):
    claim, other = step("slow"), step("who")
    server.give(claim)
    start_agent()
    wait_until(lambda: server.log_of(claim).count(b"\n") >= 2, "its pid", DEADLINE)
    child = int(server.log_of(claim).split()[-1])
    spawner = numbers(server.log_of(claim), b"by")[0]
    os.kill(spawner, signal.SIGKILL)
    [report] = server.wait_for_reports()
    assert report["status"] == "failed"
    assert "killed by SIGKILL" in report["reason"]
    wait_until(lambda: is_gone(child), "the end of the orphan", DEADLINE)
    server.give(other)
    server.wait_for_reports(2)
    assert server.reports[1]["status"] == "completed"
    assert numbers(server.log_of(other), b"by") != [spawner]


def spare_of(spawner):
    """The child that the spawner has forked ahead, once it is the only one."""
    wait_until(lambda: len(psutil.Process(spawner).children()) == 1, "the spare alone", DEADLINE)
    return psutil.Process(spawner).children()[0].pid


@needs_forks
def test_an_attempt_is_the_child_that_was_forked_ahead(server, start_agent, step):
    claim, other = step("who"), step("double", n=1)
    server.give(claim)
    start_agent()
    server.wait_for_reports()
    spare = spare_of(numbers(server.log_of(claim), b"from")[0])
    claim = step("who", name="again")
    server.give(claim)
    server.wait_for_reports(2)
    assert numbers(server.log_of(claim), b"in") == [spare]
    server.give(other)
    assert server.wait_for_reports(3)[2]["status"] == "completed", "another function than the one it was made for"


@needs_forks
def test_a_spare_that_was_killed_is_replaced(server, start_agent, step):
    claim, other = step("who"), step("who", name="other")
    server.give(claim)
    start_agent()
    server.wait_for_reports()
    spawner = numbers(server.log_of(claim), b"from")[0]
    spare = spare_of(spawner)
    os.kill(spare, signal.SIGKILL)
    wait_until(lambda: is_gone(spare), "its end", DEADLINE)
    server.give(other)
    assert server.wait_for_reports(2)[1]["status"] == "completed"
    assert numbers(server.log_of(other), b"from") == [spawner]


@needs_forks
def test_a_spare_does_not_outlive_its_spawner(server, start_agent, step):
    claim = step("who")
    server.give(claim)
    start_agent()
    server.wait_for_reports()
    spawner = numbers(server.log_of(claim), b"from")[0]
    spare = spare_of(spawner)
    os.kill(spawner, signal.SIGKILL)
    wait_until(lambda: is_gone(spare), "the end of the spare", DEADLINE)


@needs_forks
def test_an_import_that_hangs_can_be_stopped(server, start_agent, step):
    claim = step("who", text="import time; time.sleep(60)")
    server.give(claim)
    start_agent()
    wait_until(
        lambda: [p for p in psutil.Process().children() if "foldline.agent.spawner" in p.cmdline()], "it", DEADLINE
    )
    server.stop(claim)
    [report] = server.wait_for_reports()
    assert report["status"] == "stopped"
    assert report["began_at"] is None


def test_an_installed_module_needs_no_sources(server, start_agent, way):
    script = {"module": "json", "function": "dumps", "returns": ["text"], "source": None, "entry_point": ""}
    claim = claim_for(script, hyperparameters={"kwargs": {"obj": {"value": [1]}}})
    server.give(claim)
    start_agent()
    [report] = server.wait_for_reports()
    assert report["status"] == "completed", server.log_of(claim)
    assert json.loads(server.edits[claim["task_id"]][0]["hyperparameters"]["return"]["text"]["value"]) == [1]


def test_a_function_may_come_as_inline_text(server, start_agent):
    script = {"entry_point": "step.py", "diff": "def say(): print('said')", "function": "say", "source": None}
    claim = claim_for(script)
    server.give(claim)
    start_agent()
    [report] = server.wait_for_reports()
    assert report["status"] == "completed", server.log_of(claim)
    assert server.log_of(claim) == b"said\n"
