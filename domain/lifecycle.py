"""The state charts, compiled, and the one question put to them: where does this lead?

Declared with `transitions`, without models, automatic transitions or callbacks: a Machine here is a chart to read. The
tables compiled from them are about a hundred times faster; a test asks the Machine every (state, trigger).
"""

# The library has no types; what leaves this module does.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false, reportUnknownLambdaType=false

from collections.abc import Mapping, Sequence

from transitions import Machine

from domain.refused import Refused

Table = Mapping[tuple[str, str], str]


def _chart(states: Sequence[str], transitions: Sequence[tuple[str, str, str]]) -> Machine:
    return Machine(
        model=None,
        initial=None,
        auto_transitions=False,
        states=["absent", *states],
        transitions=[list(transition) for transition in transitions],
    )


TASK_CHART = _chart(
    ["created", "queued", "in_progress", "stopped", "failed", "completed", "published"],
    [
        ("create", "absent", "created"),
        ("enqueue", "created", "queued"),
        ("enqueue", "stopped", "queued"),
        ("enqueue", "failed", "queued"),
        # A task that leaves its queue goes back to what it was when it was put there.
        ("return to created", "queued", "created"),
        ("return to stopped", "queued", "stopped"),
        ("return to failed", "queued", "failed"),
        ("start", "created", "in_progress"),
        ("start", "queued", "in_progress"),
        ("start", "stopped", "in_progress"),
        ("start", "failed", "in_progress"),
        ("start", "completed", "in_progress"),
        ("request stop", "in_progress", "in_progress"),
        ("requeue", "in_progress", "queued"),
        ("stop", "queued", "stopped"),
        ("stop", "in_progress", "stopped"),
        ("complete", "in_progress", "completed"),
        ("complete", "stopped", "completed"),
        ("fail", "queued", "failed"),
        ("fail", "in_progress", "failed"),
        ("fail", "stopped", "failed"),
        # A person's word that its work was done in another way.
        ("mark completed", "created", "completed"),
        ("mark completed", "queued", "completed"),
        ("mark completed", "failed", "completed"),
        ("mark completed", "stopped", "completed"),
        ("reset", "stopped", "created"),
        ("reset", "failed", "created"),
        ("reset", "completed", "created"),
        ("publish", "stopped", "published"),
        ("publish", "failed", "published"),
        ("publish", "completed", "published"),
    ],
)

RUN_CHART = _chart(
    ["created", "queued", "running", "paused", "completed", "failed", "stopped"],
    [
        ("create", "absent", "created"),
        ("enqueue", "created", "queued"),
        ("start", "created", "running"),
        ("start", "queued", "running"),
        ("pause", "running", "paused"),
        ("resume", "paused", "running"),
        ("request stop", "created", "created"),
        ("request stop", "queued", "queued"),
        ("request stop", "running", "running"),
        ("request stop", "paused", "paused"),
        ("complete", "running", "completed"),
        ("complete", "paused", "completed"),
        ("fail", "created", "failed"),
        ("fail", "queued", "failed"),
        ("fail", "running", "failed"),
        ("fail", "paused", "failed"),
        ("reopen", "failed", "running"),
        ("reopen", "stopped", "running"),
        ("reopen", "running", "running"),
        ("stop", "created", "stopped"),
        ("stop", "queued", "stopped"),
        ("stop", "running", "stopped"),
        ("stop", "paused", "stopped"),
    ],
)

# A step has no stream: its status is folded from its run's events and its task's.
STEP_CHART = _chart(
    ["pending", "waiting", "queued", "running", "completed", "cached", "failed", "stopped", "skipped"],
    [
        ("create", "absent", "pending"),
        ("wait", "pending", "waiting"),
        ("enqueue", "pending", "queued"),
        ("enqueue", "waiting", "queued"),
        ("start", "queued", "running"),
        ("requeue", "running", "queued"),
        # A pipeline starts by itself; a pause takes steps out of their queues; a retry, a callback may follow the task.
        ("launch", "pending", "running"),
        ("launch", "waiting", "running"),
        ("hold", "queued", "waiting"),
        ("hold", "running", "waiting"),
        ("release", "waiting", "pending"),
        ("complete", "running", "completed"),
        ("complete", "waiting", "completed"),
        ("mark completed", "pending", "completed"),
        ("mark completed", "queued", "completed"),
        ("reuse", "pending", "cached"),
        ("reuse", "waiting", "cached"),
        ("fail", "pending", "failed"),
        ("fail", "waiting", "failed"),
        ("fail", "queued", "failed"),
        ("fail", "running", "failed"),
        ("stop", "queued", "stopped"),
        ("stop", "waiting", "stopped"),
        ("stop", "running", "stopped"),
        ("skip", "pending", "skipped"),
        ("skip", "waiting", "skipped"),
        ("reopen", "failed", "pending"),
        ("reopen", "stopped", "pending"),
        ("reopen", "skipped", "pending"),
    ],
)


def compiled(chart: Machine) -> dict[tuple[str, str], str]:
    """{(state, trigger): state}. A test holds it equal to the Machine."""
    return {
        (transition.source, trigger): transition.dest
        for trigger, event in chart.events.items()
        for transitions in event.transitions.values()
        for transition in transitions
        if transition.dest is not None
    }


TASK: Table = compiled(TASK_CHART)
RUN: Table = compiled(RUN_CHART)
STEP: Table = compiled(STEP_CHART)


def _states(chart: Machine) -> tuple[str, ...]:
    return tuple(str(state) for state in chart.states if state != "absent")


TASK_STATES = _states(TASK_CHART)
RUN_STATES = _states(RUN_CHART)
STEP_STATES = _states(STEP_CHART)

TASK_ENDED = frozenset({"stopped", "failed", "completed", "published"})
RUN_ENDED = frozenset({"completed", "failed", "stopped"})
STEP_ENDED = frozenset({"completed", "cached", "failed", "stopped", "skipped"})


def after(table: Table, state: str, trigger: str, what: str = "what") -> str:
    """The state that `trigger` leads to from `state`. Raises Refused, naming what would be possible instead."""
    try:
        return table[state, trigger]
    except KeyError:
        pass
    sources = [words(source) for source, known in table if known == trigger]
    raise Refused(f"Cannot {trigger} {what} that is {words(state)}: it must be {either(sources)}.") from None


def allowed(table: Table, state: str) -> Sequence[str]:
    """The triggers that `state` has, in the order of the chart."""
    return [trigger for source, trigger in table if source == state]


def words(state: str) -> str:
    return state.replace("_", " ")


def either(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}" if names else "something else"
