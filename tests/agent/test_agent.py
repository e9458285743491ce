"""Whole agents, in a thread, with real processes, against a server of canned answers."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from foldline.errors import FoldlineError, Invalid
from tests.agent.canned import DEADLINE, claim_for, inline, is_gone
from tests.support.waiting import wait_until


def pid_in(server, claim) -> int:
    """The number that the attempt has printed first."""
    wait_until(lambda: b"\n" in server.log_of(claim), "a printed process id", DEADLINE)
    return int(server.log_of(claim).split()[0])


def test_a_script_runs_and_is_reported_completed(server, start_agent):
    claim = inline("print('hello')")
    server.give(claim)
    start_agent()
    [report] = server.wait_for_reports()
    began = report.pop("began_at")
    assert report == {
        "task_id": claim["task_id"],
        "attempt": 1,
        "status": "completed",
        "reason": "",
        "exit_code": 0,
    }
    assert began.endswith("Z")
    assert server.log_of(claim) == b"hello\n", "the log is complete before the report"


@pytest.mark.parametrize(
    ("script", "reason", "exit_code"),
    [
        pytest.param("raise ValueError('too small')", "ValueError: too small", 1, id="an exception"),
        pytest.param("import sys; sys.exit(3)", "exit code 3", 3, id="an exit code"),
        pytest.param("import os; os.kill(os.getpid(), 9)", "killed by SIGKILL", None, id="a signal"),
        pytest.param("def oops(:", "SyntaxError: invalid syntax", 1, id="no Python"),
    ],
)
def test_a_failure_is_reported_with_its_reason(server, start_agent, script, reason, exit_code):
    server.give(inline(script))
    start_agent()
    [report] = server.wait_for_reports()
    assert (report["status"], report["reason"], report["exit_code"]) == ("failed", reason, exit_code)


def test_an_attempt_knows_what_it_is(server, start_agent):
    names = ["TASK_ID", "ATTEMPT", "SESSION", "RUN_ID", "STEP", "URL", "TOKEN"]
    claim = inline(
        f"import os, json; print(json.dumps([os.environ['FOLDLINE_' + name] for name in {names}]))", attempt=2
    )
    server.give(claim | {"run_id": "b" * 32, "step": "train"})
    start_agent()
    server.wait_for_reports()
    session = server.sessions[0]["session"]
    assert len(session) == 32
    assert json.loads(server.log_of(claim)) == [
        claim["task_id"], "2", session, "b" * 32, "train", server.url, "secret-token"
    ]  # fmt: skip


def test_a_script_of_the_sources_has_its_modules_arguments_and_a_folder_of_its_own(server, start_agent):
    source = server.store_sources(
        {
            "jobs/train.py": "import sys, helper, pathlib, foldline\n"
            "print(helper.NAME, sys.argv[1:], pathlib.Path.cwd().name)\n"
            "assert not pathlib.Path('made').exists()\n"
            "pathlib.Path('made').write_text('by ' + sys.argv[1])\n",
            "helper.py": "NAME = 'help'",
            "data/here.txt": "",
        }
    )
    script = {"entry_point": "jobs/train.py", "working_dir": "data", "source": source, "diff": ""}
    claims = [claim_for(script | {"arguments": [f"--n={n}", "2"]}, name=f"train {n}") for n in range(2)]
    server.give(*claims)
    start_agent(slots=2)
    reports = server.wait_for_reports(2)
    assert [report["reason"] for report in reports] == ["", ""], [server.log_of(claim) for claim in claims]
    assert server.log_of(claims[0]) == b"help ['--n=0', '2'] data\n"


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ({"entry_point": "gone.py", "diff": ""}, "'gone.py' is not among the task's sources"),
        ({"entry_point": "../../gone.py", "diff": "print(1)"}, "leads out of the task's sources"),
        (
            {"entry_point": "a.py", "diff": "print(1)", "working_dir": "nowhere"},
            "is not a folder of the task's sources",
        ),
        ({"entry_point": "a.py", "source": "0" * 64}, "its sources could not be fetched: no such blob"),
        ({}, "no entry_point"),
    ],
    ids=["missing", "outside", "working_dir", "no blob", "nothing"],
)
def test_what_cannot_run_fails_with_a_sentence_that_is_in_its_log_too(server, start_agent, script, reason):
    claim = claim_for(script)
    server.give(claim)
    start_agent()
    [report] = server.wait_for_reports()
    assert report["status"] == "failed"
    assert report["began_at"] is None
    assert reason in report["reason"]
    assert reason in server.log_of(claim).decode()


def test_output_is_bytes(server, start_agent):
    claim = inline("import sys; sys.stdout.buffer.write(b'\\xff\\xfe' + b'x' * 1_000_000)")
    server.give(claim)
    start_agent()
    server.wait_for_reports()
    assert server.log_of(claim) == b"\xff\xfe" + b"x" * 1_000_000
    assert max(size for _, size in server.log_requests) <= 256 * 1024


def test_output_is_sent_while_the_attempt_runs_in_the_order_of_its_lines(server, start_agent, tmp_path):
    go = tmp_path / "go"
    claim = inline(
        "import sys, pathlib, time\n"
        "print('one'); print('two', file=sys.stderr); print('three')\n"
        f"while not pathlib.Path({str(go)!r}).exists(): time.sleep(0.01)\n"
    )
    server.give(claim)
    start_agent()
    wait_until(lambda: server.log_of(claim) == b"one\ntwo\nthree\n", "live output", DEADLINE)
    assert server.reports == []
    go.touch()
    server.wait_for_reports()


def test_no_more_attempts_at_a_time_than_slots(server, start_agent):
    claims = [inline("import time; time.sleep(0.02)", name=str(n)) for n in range(12)]
    server.give(*claims)
    start_agent(slots=3)
    reports = server.wait_for_reports(12)
    assert sorted(report["task_id"] for report in reports) == sorted(claim["task_id"] for claim in claims)
    assert server.most_handed == 3


def test_the_answer_to_a_report_brings_the_next_claim(server, start_agent):
    server.give(*(inline("print(1)", name=str(n)) for n in range(4)))
    start_agent(slots=1)
    server.wait_for_reports(4)
    with_work = [exchange for exchange in server.exchanges if exchange["reports"]]
    assert [exchange["free"] for exchange in with_work] == [1, 1, 1, 1]


def test_a_claim_that_comes_twice_is_one_attempt(server, start_agent):
    claim = inline("import time; time.sleep(0.2)")
    server.give(claim, claim)
    start_agent(slots=2)
    server.wait_for_reports()
    other = inline("", name="other")
    server.give(other)
    reports = server.wait_for_reports(2)
    assert [report["task_id"] for report in reports] == [claim["task_id"], other["task_id"]]


def test_a_stop_lets_the_task_save_its_work(server, start_agent):
    claim = inline(
        "import signal, sys, time, os\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('saved'), sys.exit(0)))\n"
        "print(os.getpid()); time.sleep(60)"
    )
    server.give(claim)
    start_agent()
    pid_in(server, claim)
    server.stop(claim)
    [report] = server.wait_for_reports()
    assert (report["status"], report["reason"]) == ("stopped", "stop requested by ana")
    assert b"saved" in server.log_of(claim)


def test_what_ignores_a_stop_is_killed_after_the_grace(server, start_agent):
    claim = inline(
        "import signal, time, os\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint(os.getpid()); time.sleep(60)"
    )
    server.give(claim)
    start_agent(grace=0.3)
    pid = pid_in(server, claim)
    server.stop(claim)
    [report] = server.wait_for_reports()
    assert report["status"] == "stopped"
    assert is_gone(pid)


def test_a_lost_attempt_is_ended_and_not_reported(server, start_agent):
    claim, other = inline("import os, time; print(os.getpid()); time.sleep(60)"), inline("", name="other")
    server.give(claim)
    start_agent(slots=1)
    pid = pid_in(server, claim)
    del server.handed[claim["task_id"], 1]
    server.stop(claim, "the agent was silent", lost=True)
    server.give(other)
    [report] = server.wait_for_reports()
    assert report["task_id"] == other["task_id"]
    assert is_gone(pid)


@pytest.mark.parametrize("own_session", [False, True], ids=["in its group", "in a session of its own"])
def test_what_a_step_leaves_behind_is_ended(server, start_agent, own_session):
    claim = inline(
        "import subprocess, sys\n"
        "left = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'],"
        f" start_new_session={own_session})\nprint(left.pid)"
    )
    server.give(claim)
    start_agent()
    [report] = server.wait_for_reports()
    assert report["status"] == "completed"
    pid = pid_in(server, claim)
    wait_until(lambda: is_gone(pid), "the end of the background process", DEADLINE)


def test_a_drained_agent_finishes_what_it_has_takes_nothing_new_and_leaves(server, start_agent, tmp_path):
    go = tmp_path / "go"
    claim = inline(f"import pathlib, time\nwhile not pathlib.Path({str(go)!r}).exists(): time.sleep(0.01)")
    server.give(claim)
    agent = start_agent(slots=2)
    wait_until(lambda: server.handed, "the claim", DEADLINE)
    agent.requests.ask()
    wait_until(lambda: server.exchanges[-1]["free"] == 0, "an exchange that offers nothing", DEADLINE)
    server.give(inline("", name="too late"))
    go.touch()
    assert agent.ended() == 0
    assert [report["status"] for report in server.reports] == ["completed"]
    assert server.left == [server.sessions[0]["session"]]
    assert len(server.waiting) == 1


def test_asked_twice_it_stops_what_runs_and_says_why(server, start_agent):
    claim = inline("import os, time; print(os.getpid()); time.sleep(60)")
    server.give(claim)
    agent = start_agent(name="blue")
    pid = pid_in(server, claim)
    agent.requests.ask()
    agent.requests.ask()
    assert agent.ended() == 0
    [report] = server.reports
    assert (report["status"], report["reason"]) == ("failed", "agent blue was stopped")
    assert is_gone(pid)
    assert server.left


def test_results_outlive_a_server_that_is_away(server, start_agent, tmp_path):
    go = tmp_path / "go"
    claim = inline(
        "import pathlib, time\nprint('before')\n"
        f"while not pathlib.Path({str(go)!r}).exists(): time.sleep(0.01)\nprint('meanwhile')"
    )
    server.give(claim)
    start_agent()
    wait_until(lambda: server.log_of(claim) == b"before\n", "its output", DEADLINE)
    server.away = True
    with server.changed:
        server.changed.notify_all()
    go.touch()
    kept = tmp_path / "home" / "agents"
    wait_until(lambda: any(file.stat().st_size for file in kept.rglob("reports.ndjson")), "the kept report", DEADLINE)
    server.away = False
    [report] = server.wait_for_reports()
    assert report["status"] == "completed"
    wait_until(lambda: server.log_of(claim) == b"before\nmeanwhile\n", "the rest of its output", DEADLINE)
    wait_until(lambda: not list(kept.rglob("log")), "the end of its local files", DEADLINE)


def test_an_agent_waits_for_a_server_that_is_not_there_yet(server, start_agent):
    server.away = True
    server.give(inline(""))
    start_agent()
    server.away = False
    server.wait_for_reports()


def test_a_session_that_was_ended_ends_its_attempts_and_begins_anew(server, start_agent):
    claim, other = inline("import os, time; print(os.getpid()); time.sleep(60)"), inline("", name="other")
    server.give(claim)
    start_agent()
    pid = pid_in(server, claim)
    server.supersede()
    wait_until(lambda: len(server.sessions) == 3, "another registration", DEADLINE)
    assert is_gone(pid), "before it registers again"
    server.give(other)
    [report] = server.wait_for_reports()
    assert report["task_id"] == other["task_id"]
    assert server.sessions[0]["session"] != server.sessions[2]["session"]


def test_agents_that_take_each_others_name_do_not_go_on_for_ever(server, start_agent):
    agent = start_agent(name="blue")
    for registered in (1, 3, 5, 7):
        wait_until(lambda registered=registered: len(server.sessions) == registered, "its registration", DEADLINE)
        server.supersede()
    agent.ended()
    assert isinstance(agent.error, FoldlineError)
    assert "another --name" in str(agent.error)


def test_a_refused_registration_ends_the_agent_with_the_servers_sentence(server, start_agent):
    server.refusal = (422, {"code": "invalid", "detail": "there is no queue 'gpu'; create it first"})
    agent = start_agent(queues=["gpu"])
    agent.ended()
    assert isinstance(agent.error, Invalid)
    assert "no queue 'gpu'" in str(agent.error)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, {"queues": ["default"], "slots": 1, "services": False}),
        ({"services": True}, {"queues": ["services"], "slots": 20, "services": True}),
        ({"queues": ["a", "b"], "slots": 3}, {"queues": ["a", "b"], "slots": 3, "services": False}),
    ],
    ids=["as it comes", "services", "as told"],
)
def test_an_agent_says_what_it_is(server, start_agent, options, said):
    start_agent(**options)
    wait_until(lambda: server.sessions, "its registration", DEADLINE)
    assert server.sessions[0].items() >= (said | {"pid": os.getpid()}).items()


def test_no_slots_is_an_error(start_agent):
    with pytest.raises(FoldlineError, match="at least one slot"):
        start_agent(slots=0)


AGENT = "import sys; from foldline.agent.agent import AgentOptions, run; sys.exit(run(AgentOptions(name='blue')))"


def agent_process(server, tmp_path: Path) -> subprocess.Popen[str]:
    sdk = Path(__file__).parents[2] / "sdk"
    environment = os.environ | {"FOLDLINE_URL": server.url, "FOLDLINE_HOME": str(tmp_path), "PYTHONPATH": str(sdk)}
    return subprocess.Popen([sys.executable, "-c", AGENT], env=environment, stderr=subprocess.PIPE, text=True)


def test_signals_drain_and_then_stop_a_real_agent(server, tmp_path):
    claim = inline("import os, time; print(os.getpid()); time.sleep(60)")
    server.give(claim)
    with agent_process(server, tmp_path) as agent:
        pid = pid_in(server, claim)
        agent.send_signal(signal.SIGTERM)
        wait_until(lambda: server.exchanges[-1]["free"] == 0, "the drain", DEADLINE)
        assert agent.poll() is None
        wait_until(lambda: server.reports or agent.send_signal(signal.SIGINT), "the end of the attempt", DEADLINE)
        _, said = agent.communicate(timeout=DEADLINE)
    assert agent.returncode == 0, said
    assert "draining" in said
    assert is_gone(pid)
    assert [report["status"] for report in server.reports] == ["failed"]


def test_two_signals_for_one_ctrl_c_only_drain(server, tmp_path):
    go = tmp_path / "go"
    claim = inline(f"import pathlib, time\nwhile not pathlib.Path({str(go)!r}).exists(): time.sleep(0.01)")
    server.give(claim)
    with agent_process(server, tmp_path) as agent:
        wait_until(lambda: server.handed, "the claim", DEADLINE)
        agent.send_signal(signal.SIGINT)
        agent.send_signal(signal.SIGTERM)
        assert agent.stderr is not None
        assert any("draining" in line for line in agent.stderr)
        go.touch()
        _, said = agent.communicate(timeout=DEADLINE)
    assert agent.returncode == 0, said
    assert [report["status"] for report in server.reports] == ["completed"]


def test_after_a_crash_the_next_agent_ends_what_the_last_one_left(server, tmp_path):
    claim = inline("import os, time; print(os.getpid()); time.sleep(60)")
    server.give(claim)
    with agent_process(server, tmp_path) as agent:
        pid = pid_in(server, claim)
        agent.kill()
        agent.communicate(timeout=DEADLINE)
    assert not is_gone(pid)
    with agent_process(server, tmp_path) as agent:
        wait_until(lambda: is_gone(pid), "the end of the orphan", DEADLINE)
        wait_until(lambda: len(server.sessions) == 2, "its registration", DEADLINE)
        agent.terminate()
        _, said = agent.communicate(timeout=DEADLINE)
    assert agent.returncode == 0, said
    assert f"ended process {pid}" in said
