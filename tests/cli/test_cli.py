"""The `foldline` command against a real server: what it prints, and its exit codes."""

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from foldline.cli.overview import COMMANDS
from tests.support.house import House, step
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One server with an agent for all tests of this module."""
    with House(tmp_path_factory.mktemp("cli")) as house:
        house.serve()
        house.agent("-q", "default", "--slots", "4")
        yield house


@pytest.fixture(scope="module")
def good(house: House) -> dict[str, Any]:
    """A run that has completed."""
    run = house.submit(step("first", "print('hello')"), step("second", parents=["first"]), name="good")
    return house.wait(run["id"])


@pytest.fixture(scope="module")
def bad(house: House) -> dict[str, Any]:
    """A run that has failed."""
    return house.wait(house.submit(step("breaks", "print('so far'); raise SystemExit(3)"), name="bad")["id"])


def foldline(house: House, *arguments: str) -> subprocess.CompletedProcess[str]:
    return house.run_python("-m", "foldline", *arguments)


def printed(house: House, *arguments: str, code: int = 0) -> str:
    done = foldline(house, *arguments)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def test_help_tells_the_commands_and_the_exit_codes(house: House):
    text = printed(house, "--help")
    for word in ("run", "task", "queue", "agent", "Exit codes", "13 verification failed"):
        assert word in text


@pytest.mark.parametrize(
    ("words", "not_loaded"),
    [
        ([], ["cyclopts", "rich", "typing", "httpx2", "foldline.client", "foldline.agent"]),
        (["--help"], ["cyclopts", "rich", "typing", "httpx2", "foldline.client", "foldline.agent"]),
        (["--version"], ["cyclopts", "rich", "typing", "httpx2", "foldline.client", "foldline.agent"]),
        (["run", "show", "--help"], ["markdown_it", "httpx2", "foldline.agent"]),
    ],
)
def test_to_be_told_what_there_is_loads_little(words: list[str], not_loaded: list[str]):
    code = (
        f"import sys; from foldline.cli.main import run; run({words});"
        f"print([name for name in {not_loaded} if name in sys.modules])"
    )
    # Isolated, or a file of the environment's own might import them before us.
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_help_tells_of_every_command_the_same_as_the_command_itself(house: House):
    overview = printed(house, "--help")
    for name, about in COMMANDS.items():
        assert f"  {name}: {about}\n" in overview
        assert about in " ".join(printed(house, name, "--help").split())


def test_ls_lists_runs_the_newest_first(house: House, good: dict[str, Any], bad: dict[str, Any]):
    lines = [line.split("\t") for line in printed(house, "run", "ls").splitlines()]
    assert lines[0][:4] == ["id", "name", "project", "status"]
    assert [line[1] for line in lines[1:]] == [bad["name"], good["name"]]
    only = printed(house, "run", "ls", "--status", "failed", "-o", "ids")
    assert only == f"{bad['id']}\n"


@pytest.mark.parametrize("output", ["json", "ndjson"])
def test_output_for_programs(house: House, good: dict[str, Any], output: str):
    text = printed(house, "run", "ls", "--name", good["name"], "-o", output)
    found = json.loads(text) if output == "json" else [json.loads(line) for line in text.splitlines()]
    assert [run["id"] for run in found] == [good["id"]]


def test_show_by_the_beginning_of_an_id_and_as_of_an_event(house: House, good: dict[str, Any]):
    now = printed(house, "run", "show", good["id"][:12])
    assert "completed" in now
    assert "second\tcompleted\t1" in now
    then = printed(house, "run", "show", f"{good['id']}@5")
    assert then.startswith("as of event 5:")
    assert "first\trunning" in then
    assert "second\tpending" in then


def test_latest_and_failed_are_names(house: House, good: dict[str, Any], bad: dict[str, Any]):
    assert printed(house, "run", "show", "@failed", "-o", "ids") == f"{bad['id']}\n"
    assert printed(house, "run", "show", "@latest", "-o", "ids") == f"{bad['id']}\n"


@pytest.mark.parametrize(("which", "code"), [("good", 0), ("bad", 10)])
def test_watch_ends_with_the_outcome(house: House, which: str, code: int, request: pytest.FixtureRequest):
    run = request.getfixturevalue(which)
    assert run["name"] in printed(house, "run", "watch", run["id"], code=code).splitlines()[-1]


def test_watch_says_when_it_took_too_long_and_stop_stops(house: House):
    run = house.submit(step("slow", "import time; time.sleep(60)"), name="slow")
    wait_until(lambda: house.steps(run["id"])["slow"]["status"] == "running", "the step to run")
    done = foldline(house, "run", "watch", run["id"], "--timeout", "0.2")
    assert done.returncode == 12
    assert "it goes on" in done.stderr
    printed(house, "run", "stop", run["id"], "--reason", "enough")
    ended = house.wait(run["id"])
    assert (ended["status"], ended["reason"]) == ("stopped", "enough")
    assert foldline(house, "run", "watch", run["id"]).returncode == 11


def test_ctrl_c_leaves_a_watched_run_alone(house: House, tmp_path: Path):
    gate = tmp_path / "gate"
    code = f"import os, time\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.05)"
    run = house.submit(step("waits", code))
    watching = house.python("watch", "-m", "foldline", "run", "watch", run["id"])
    wait_until(lambda: "waits: running" in house.log("watch"), "it to watch")
    watching.send_signal(signal.SIGINT)
    assert watching.wait(10) == 130
    assert f"left run {run['id']}, which goes on" in house.log("watch")
    assert house.client.runs.get(run["id"])["status"] == "running"
    gate.touch()
    assert house.wait(run["id"])["status"] == "completed"


def test_logs_of_the_step_that_failed(house: House, bad: dict[str, Any], good: dict[str, Any]):
    assert printed(house, "run", "logs", bad["id"]) == "so far\n"
    assert printed(house, "run", "logs", good["id"], "first") == "hello\n"
    assert printed(house, "run", "logs", good["id"], "first", "--follow") == "hello\n"


def test_replay_shows_each_event(house: House, good: dict[str, Any]):
    lines = printed(house, "run", "replay", good["id"]).splitlines()
    assert len(lines) == good["version"]
    assert "RunCreated" in lines[0]
    assert lines[-1].split()[2:] == ["RunCompleted", "2/2"]
    some = printed(house, "run", "replay", good["id"], "--from", "3", "--to", "4", "-o", "ndjson").splitlines()
    assert [json.loads(line)["version"] for line in some] == [3, 4]


def test_verify(house: House, good: dict[str, Any]):
    assert printed(house, "run", "verify", good["id"]).startswith(f"verified: {good['version']} events")


def test_submit_with_parameters_and_a_key(house: House, tmp_path: Path):
    definition = {
        "name": "typed",
        "project": "x",
        "default_queue": "default",
        "parameters": [{"name": "lr", "default": 1}, {"name": "mode", "default": ""}],
        "steps": [step("a", parameter_override={"General/lr": "${pipeline.lr}"})],
    }
    path = tmp_path / "typed.json"
    path.write_text(json.dumps(definition))
    arguments = ("run", "submit", str(path), "-p", "lr=0.5", "-p", "mode=fast", "--key", "k", "-o", "json")
    first = json.loads(printed(house, *arguments))
    assert first["parameters"] == {"lr": 0.5, "mode": "fast"}
    assert json.loads(printed(house, *arguments))["id"] == first["id"]
    assert house.wait(first["id"])["status"] == "completed"


def test_a_draft_is_started_by_hand(house: House, tmp_path: Path):
    path = tmp_path / "p.json"
    path.write_text(json.dumps({"name": "d", "project": "x", "default_queue": "default", "steps": [step("a")]}))
    run_id = printed(house, "run", "submit", str(path), "--draft", "-o", "ids").strip()
    assert house.client.runs.get(run_id)["status"] == "created"
    printed(house, "run", "start", run_id)
    assert house.wait(run_id)["status"] == "completed"


def test_plots_are_listed_and_saved(house: House, tmp_path: Path):
    task_id = house.client.tasks.create(name="draws", project="cli")["id"]
    sha256, _ = house.client.blobs.put_bytes(b"a picture")
    picture = {"title": "a/b", "series": "..", "iteration": 7, "kind": "image", "sha256": sha256, "filename": "x.png"}
    elsewhere = {"title": "film", "series": "s", "iteration": 1, "kind": "media", "url": "s3://bucket/a.mp4"}
    for plot in (picture, elsewhere):
        house.client.plots.add(task_id, plot)
    listed = printed(house, "task", "plots", task_id)
    assert [line.split("\t")[:4] for line in listed.splitlines()[1:]] == [
        ["a/b", "..", "7", "image"],
        ["film", "s", "1", "media"],
    ]
    said = printed(house, "task", "plots", task_id, "--save", str(tmp_path))
    saved = tmp_path / "a%2Fb" / "%2E%2E" / "7.png"
    assert said.splitlines() == [str(saved), "film/s/1 lies at s3://bucket/a.mp4"]
    assert saved.read_bytes() == b"a picture"


def test_tasks_queues_and_agents(house: House, good: dict[str, Any]):
    task_id = house.steps(good["id"])["first"]["task_id"]
    assert task_id in printed(house, "task", "ls", "--limit", "100", "-o", "ids").split()
    assert "first" in printed(house, "task", "show", task_id)
    assert printed(house, "task", "logs", task_id) == "hello\n"
    printed(house, "queue", "create", "gpu")
    assert {"default", "services", "gpu"} <= set(printed(house, "queue", "ls", "-o", "ids").split())
    [agent] = json.loads(printed(house, "agent", "ls", "-o", "json"))
    assert (agent["status"], agent["slots"]) == ("online", 4)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["run", "show", "zz"], 1, "is no id"),
        (["run", "show", "ab" * 16], 4, "There is no run"),
        (["run", "submit", "no such file"], 1, "cannot read no such file"),
        (["run", "ls", "--nonsense"], 2, "nonsense"),
        (["run", "ls", "-o", "yaml"], 2, "yaml"),
        (["nonsense"], 2, "nonsense"),
    ],
)
def test_wrong_usage_is_one_clear_line(house: House, arguments: list[str], code: int, said: str):
    done = foldline(house, *arguments)
    assert done.returncode == code
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_on_a_terminal_it_draws_tables_and_a_block(house: House, good: dict[str, Any]):
    for arguments in (["run", "ls"], ["run", "watch", good["id"]]):
        code, text = on_a_terminal(house, *arguments)
        assert code == 0
        assert good["name"] in text
        assert "\x1b[" in text


def on_a_terminal(house: House, *arguments: str) -> tuple[int, str]:
    """Exit code and output of the command on a pseudo terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "foldline", *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**house.env, "TERM": "xterm-256color", "COLUMNS": "140"},
    )
    os.close(theirs)
    output = b""
    try:
        while piece := os.read(ours, 65536):
            output += piece
    except OSError:
        pass  # Linux says so when the other end is closed
    finally:
        os.close(ours)
    return process.wait(30), output.decode(errors="replace")


def test_people_have_their_say_while_a_run_goes_on(house: House):
    asks = {"name": "look", "approval": {"message": "good enough?"}}
    run = house.submit(asks, step("after", parents=["look"]), name="asked")["id"]
    assert "good enough?" in printed(house, "run", "show", run)
    assert "lunch" in printed(house, "run", "pause", run, "--reason", "lunch")
    assert printed(house, "run", "ls", "--status", "paused", "-o", "ids") == f"{run}\n"
    printed(house, "run", "resume", run)
    assert "approved by local: yes" in printed(house, "run", "approve", run, "look", "--reason", "yes")
    assert house.wait(run)["status"] == "completed"
    assert "waits for no approval" in foldline(house, "run", "reject", run, "after").stderr


def test_a_failed_step_is_taken_as_completed_with_results(house: House, bad: dict[str, Any]):
    done = printed(house, "run", "complete", bad["id"], "breaks", "--output", "size=7", "--output", "name=x")
    assert "marked completed by local" in done
    assert house.wait(bad["id"])["status"] == "completed"
    task = house.client.tasks.get(house.steps(bad["id"])["breaks"]["task_id"])
    returned = {name: one["value"] for name, one in task["hyperparameters"]["return"].items()}
    assert returned == {"size": 7, "name": "x"}
    assert "neither failed nor stopped" in foldline(house, "run", "retry", bad["id"], "breaks").stderr


def test_a_tree_shows_what_a_run_is_made_of(house: House, good: dict[str, Any]):
    lines = printed(house, "run", "tree", good["id"]).splitlines()
    assert [line.split("  ")[0:1] + line.split()[-1:] for line in lines[:1]] == [["good #1", good["id"]]]
    assert lines[1:] == ["  first  completed", "  second  completed"]
    assert printed(house, "run", "tree", good["id"], "-o", "ids") == f"{good['id']}\n"


def test_a_queue_is_paused_and_resumed(house: House):
    printed(house, "queue", "create", "slow/one")
    assert "by local: moving" in printed(house, "queue", "pause", "slow/one", "--reason", "moving")
    assert "paused" not in printed(house, "queue", "resume", "slow/one")
    assert printed(house, "run", "ls", "--kind", "custom", "-o", "ids") == ""
