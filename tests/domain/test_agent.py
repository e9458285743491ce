"""An agent: one session at a time; what is said about an older session changes nothing for the newer one."""

import pytest
from msgspec.structs import replace

from domain.agent import Agent, AgentEvent, AgentLeft, AgentLost, AgentRegistered, evolve, register
from domain.refused import Invalid

FIRST = AgentRegistered(name="worker 1", session="s1", queues=["default"], slots=2, host="h1", pid=7)
SECOND = replace(FIRST, session="s2", queues=["default", "gpu"], slots=4, services=True, host="h2")
LEFT, LOST = AgentLeft(session="s1"), AgentLost(session="s1", reason="not heard of for 10 s")


def fold(events: list[AgentEvent]) -> Agent:
    agent = Agent(id="a1")
    for number, event in enumerate(events, 1):
        agent = evolve(agent, event, number)
    return agent


@pytest.mark.parametrize(
    ("given", "when", "then"),
    [
        pytest.param([], FIRST, [FIRST], id="the first session"),
        pytest.param([FIRST], FIRST, [], id="the same session again"),
        pytest.param([FIRST], SECOND, [SECOND], id="a new session"),
        pytest.param([FIRST, SECOND], FIRST, [FIRST], id="an older session comes back"),
        pytest.param([FIRST, LOST], FIRST, [FIRST], id="a session that was lost"),
        pytest.param([FIRST, LEFT], FIRST, [FIRST], id="a session that had left"),
    ],
)
def test_registers(given, when, then):
    assert register(when, fold(given)) == then


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"name": " "}, "An agent needs a name."),
        ({"queues": []}, "An agent needs at least one queue to listen to."),
        ({"slots": 0}, "An agent needs at least one slot."),
    ],
)
def test_an_agent_that_could_do_nothing_is_invalid(change, sentence):
    with pytest.raises(Invalid) as invalid:
        register(replace(FIRST, **change), Agent(id="a1"))
    assert (str(invalid.value), invalid.value.where) == (sentence, next(iter(change)))


@pytest.mark.parametrize(
    ("events", "status", "session"),
    [
        ([], "absent", ""),
        ([FIRST], "online", "s1"),
        ([FIRST, LEFT], "left", "s1"),
        ([FIRST, LOST], "lost", "s1"),
        ([FIRST, LOST, FIRST], "online", "s1"),
        ([FIRST, SECOND], "online", "s2"),
        ([FIRST, SECOND, LEFT], "online", "s2"),
        ([FIRST, SECOND, LOST], "online", "s2"),
    ],
)
def test_the_newest_session_counts(events, status, session):
    agent = fold(events)
    assert (agent.status, agent.session, agent.version) == (status, session, len(events))


def test_an_agent_is_what_it_said_when_it_registered():
    assert fold([FIRST, SECOND]) == Agent(
        id="a1",
        version=2,
        status="online",
        name="worker 1",
        session="s2",
        queues=("default", "gpu"),
        slots=4,
        services=True,
        host="h2",
        registered_at=2,
    )
