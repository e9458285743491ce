"""What a step that does nothing costs the server: one request, in which its end and the next claim are one call."""

from collections import Counter

import pytest

from foldline.agent import exchange, spawners
from tests.agent.canned import claim_for

pytestmark = pytest.mark.skipif(not spawners.FORK_IS_SAFE, reason="functions are never forked on this system")

STEPS = 20
# The one with which it began, and the one that then waits beside the first steps for a stop.
FIRST_POLLS = 2


@pytest.fixture
def claims(server):
    source = server.store_sources({"pipeline.py": "def nothing():\n    return None\n"})
    script = {"entry_point": "pipeline.py", "working_dir": ".", "source": source, "function": "nothing"}
    script |= {"module": None, "returns": [], "arguments": []}
    return [claim_for(script, name=f"s{number}") for number in range(STEPS)]


@pytest.fixture
def asked(server, monkeypatch):
    """How often each thing was asked of the server, heartbeats aside, which do not count steps."""
    counts, answer = Counter(), server.answer

    def counted(method, path, query, data):
        word = path.rpartition("/")[2] if "/blobs/" not in path else "blob"
        if word != "heartbeat":
            counts[word] += 1
        return answer(method, path, query, data)

    monkeypatch.setattr(server, "answer", counted)
    return counts


@pytest.fixture(autouse=True)
def no_lull(monkeypatch):
    """However slow this machine is, one step follows the other without a lull in which a poll would be sent."""
    monkeypatch.setattr(exchange, "linger", lambda pace, has_free: 60.0)


def test_steps_in_a_row_cost_a_request_each(server, start_agent, claims, asked, monkeypatch):
    first, *later = claims
    ordinary = server.exchange

    def one_after_another(body):
        # The report's own answer brings what follows from it, as the server's does.
        if body["reports"] and later:
            server.give(later.pop(0))
        return ordinary(body)

    monkeypatch.setattr(server, "exchange", one_after_another)
    server.give(first)
    start_agent(slots=2)
    reports = server.wait_for_reports(STEPS)
    assert {report["status"] for report in reports} == {"completed"}
    assert asked.pop("exchange") <= STEPS + FIRST_POLLS
    assert asked == {"agents": 1, "blob": 1}


def test_steps_side_by_side_cost_no_more(server, start_agent, claims, asked):
    server.give(*claims)
    start_agent(slots=4)
    reports = server.wait_for_reports(STEPS)
    assert {report["status"] for report in reports} == {"completed"}
    assert asked.pop("exchange") <= STEPS + FIRST_POLLS
    assert asked == {"agents": 1, "blob": 1}
