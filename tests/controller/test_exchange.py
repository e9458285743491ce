"""The one door for agents: who gets what in which order, which reports count, what happens to lost answers."""

import pytest

from controller.exchange import Report, Superseded
from domain.agent import AgentRegistered
from domain.task import ArtifactAdded, EndTask, EnqueueTask, LoseTask, ModelAdded, ResetTask, StopTask
from tests.controller.server import LR, Server, claimed, ended, new_id, pipeline, step, together


def names(answer) -> list[str]:
    return [claim.task.name for claim in answer.claims]


# Claims


def test_tasks_are_claimed_in_the_order_in_which_they_were_enqueued(server):
    for name in ("b", "a", "c"):
        server.enqueued(name)
    assert server.agent().work() == ["b", "a", "c"]


def test_a_higher_priority_goes_first_and_equals_in_order(server):
    for name, priority in [("low", -1), ("one", 0), ("high", 5), ("two", 0), ("higher", 5)]:
        server.enqueued(name, priority=priority)
    assert server.agent().work() == ["high", "higher", "one", "two", "low"]


def test_an_agent_looks_into_its_queues_in_the_order_it_named_them(server):
    for name, queue in [("d1", "default"), ("g1", "gpu"), ("d2", "default"), ("s1", "services"), ("g2", "gpu")]:
        server.enqueued(name, queue=queue, priority=9 if name == "d1" else 0)
    assert server.agent(queues=("gpu", "default")).work() == ["g1", "g2", "d1", "d2"]


def test_no_more_is_handed_out_than_there_are_free_slots(server):
    for name in "abcde":
        server.enqueued(name)
    agent = server.agent()
    assert names(agent.ask(free=2)) == ["a", "b"]
    assert names(agent.ask(free=0)) == []
    assert names(agent.ask(free=-1)) == []
    assert names(agent.ask(free=9)) == ["c", "d", "e"]


def test_a_claim_is_the_start_and_holds_the_whole_task(server):
    task_id = server.enqueued(content=LR)
    agent = server.agent()
    [claim] = (answer := agent.ask()).claims
    assert (claim.attempt, claim.lease, claim.task) == (1, 10.0, server.task(task_id))
    assert claim.content == server.reader.content_of(claim.task)
    started = claim.task.attempts[-1]
    assert (started.agent_id, started.session, started.host) == (agent.id, agent.session, "h")
    assert answer.position == server.head
    [lease] = [row for row in server.rows("lease") if row["stream"] == f"task-{task_id}"]
    assert (lease["attempt"], lease["agent_id"], lease["session"]) == (1, agent.id, agent.session)


def test_a_task_that_leaves_its_queue_is_not_claimed(server):
    gone, stays = server.enqueued("gone"), server.enqueued("stays")
    server.do(gone, StopTask())
    assert server.agent().work() == ["stays"]
    assert server.task(stays).status == "completed"


def test_a_task_enqueued_again_stands_at_the_end_of_its_queue(server):
    first = server.enqueued("first")
    server.enqueued("second")
    server.do(first, StopTask())
    server.do(first, ResetTask())
    server.do(first, EnqueueTask(queue="default"))
    assert server.agent().work() == ["second", "first"]


def test_whether_there_may_be_work_can_be_asked_without_the_lock(server):
    agent = server.agent(queues=("gpu", "default"))
    queues = server.exchange.queues_of(agent.id)
    assert list(queues) == ["gpu", "default"]
    assert not server.exchange.has_work(queues)
    server.enqueued(queue="services")
    assert not server.exchange.has_work(queues)
    server.enqueued(queue="gpu")
    assert server.exchange.has_work(queues)
    agent.claim()
    assert not server.exchange.has_work(queues)
    assert list(server.exchange.queues_of("0" * 32)) == []


# Reports


def test_a_report_brings_the_next_claim_in_the_same_append(store, commits):
    server, steps = Server(store), 12
    run_id = server.submit({f"s{n}": [f"s{n - 1}"] if n else [] for n in range(steps)})
    agent = server.agent()
    before = len(commits)
    claim = agent.claim()
    for _ in range(steps - 1):
        [claim] = agent.end(claim, free=1).claims
    assert len(commits) - before == steps
    assert agent.end(claim, free=1).claims == []
    assert len(commits) - before == steps + 1
    assert server.run(run_id).status == "completed"
    server.check()


def test_many_reports_in_one_exchange_are_one_append_and_one_decision(server, commits):
    run_id = server.submit({**{f"a{n}": [] for n in range(20)}, "join": [f"a{n}" for n in range(20)]})
    agent = server.agent()
    claims = agent.ask(free=20).claims
    before = len(commits), len(server.rows("decision"))
    answer = agent.ask(*[ended(claim) for claim in claims], free=20)
    assert names(answer) == ["join"]
    assert (len(commits), len(server.rows("decision"))) == (before[0] + 1, before[1] + 1)
    agent.end(answer.claims[0])
    assert server.run(run_id).status == "completed"
    server.check()


@pytest.mark.parametrize("status", ["completed", "failed", "stopped"])
def test_a_report_ends_the_attempt_with_all_it_says(server, status):
    server.enqueued()
    agent = server.agent()
    claim = agent.claim()
    [receipt] = agent.end(claim, status, reason="so", exit_code=7, began_at=1_234_567).receipts
    assert (receipt.task_id, receipt.attempt, receipt.accepted, receipt.reason) == (claim.task.id, 1, True, "")
    task = server.task(claim.task.id)
    attempt = task.attempts[-1]
    assert (task.status, task.reason, attempt.status, attempt.exit_code, attempt.began_at) == (
        status,
        "so",
        status,
        7,
        1_234_567,
    )


def test_a_repeated_report_is_accepted_and_changes_nothing(store):
    server = Server(store)
    server.submit({"a": [], "b": ["a"]})
    agent = server.agent()
    claim = agent.claim()
    agent.end(claim)
    head = server.head
    for server_now in (server, server.restarted()):
        [receipt] = agent.ask(ended(claim), free=0, server=server_now).receipts
        assert receipt.accepted
    # In one exchange, and with another outcome: what was said first stands.
    receipts = agent.ask(ended(claim), ended(claim, "failed"), free=0).receipts
    assert [receipt.accepted for receipt in receipts] == [True, True]
    assert server.head == head
    assert server.task(claimed(claim)).status == "completed"


def test_a_report_for_an_attempt_that_has_been_lost_is_refused_and_leaves_no_event(store):
    server = Server(store)
    server.submit({"a": [], "b": ["a"]})
    agent = server.agent()
    claim = agent.claim()
    server.do(claimed(claim), LoseTask(attempt=1, reason="gone"))
    head = server.head
    [receipt] = agent.end(claim).receipts
    assert (receipt.accepted, receipt.attempt) == (False, 1)
    assert "can report nothing any more" in receipt.reason
    assert (server.head, server.task(claimed(claim)).status) == (head, "queued")

    other = server.agent("h:1")
    second = other.claim()
    assert second.attempt == 2
    [late] = agent.end(claim).receipts
    assert not late.accepted
    assert other.end(second).receipts[0].accepted
    assert server.task(claimed(claim)).attempt == 2
    server.check()


def test_nobody_reports_what_another_holds(server):
    server.enqueued()
    claim = server.agent().claim()
    [receipt] = server.agent("h:1").end(claim).receipts
    assert not receipt.accepted
    assert server.task(claim.task.id).status == "in_progress"


@pytest.mark.parametrize(
    ("task_id", "status", "sentence"),
    [("f" * 32, "completed", "There is no task"), (None, "crashed", "A task ends completed, failed or stopped, not")],
    ids=["no such task", "no such outcome"],
)
def test_a_report_of_nonsense_is_refused_alone(server, task_id, status, sentence):
    server.enqueued("a")
    server.enqueued("b")
    agent = server.agent()
    first, second = agent.ask(free=2).claims
    nonsense = Report(task_id=task_id or first.task.id, attempt=1, status=status)
    refused, taken = agent.ask(nonsense, ended(second), free=0).receipts
    assert (refused.accepted, taken.accepted) == (False, True)
    assert sentence in refused.reason
    assert server.task(second.task.id).status == "completed"


def test_a_task_that_has_ended_itself_keeps_what_it_said(server):
    server.submit({"a": []})
    agent = server.agent()
    claim = agent.claim()
    server.do(claim.task.id, EndTask(status="failed", reason="I say so"))
    [receipt] = agent.end(claim, "completed").receipts
    assert receipt.accepted
    assert (server.task(claim.task.id).status, server.task(claim.task.id).reason) == ("failed", "I say so")


# Lost answers


def test_a_claim_whose_answer_was_lost_is_handed_over_again_to_the_same_session_and_nobody_else(store):
    server = Server(store)
    server.submit({"a": []})
    agent, other = server.agent(), server.agent("h:1")
    [lost] = agent.ask_in_vain().claims
    head = server.head
    assert other.ask().claims == []
    # Also by the next process of the server, also when the agent has no slot free.
    for now, free in [(server, 1), (server, 0), (server.restarted(), 1)]:
        [again] = agent.ask_in_vain(free=free, server=now).claims
        assert (again.task, again.attempt, again.content, again.lease) == (lost.task, 1, lost.content, lost.lease)
    assert server.head == head
    agent.ask()
    assert agent.ask().claims == []
    agent.work()
    server.check()


def test_what_is_handed_over_again_takes_a_free_slot(server):
    for name in "abc":
        server.enqueued(name)
    agent = server.agent()
    agent.ask_in_vain(free=1)
    assert names(agent.ask(free=2)) == ["a", "b"]


def test_what_is_handed_over_again_gets_its_lease_anew(server, clock):
    server.enqueued()
    agent = server.agent()
    agent.ask_in_vain()
    clock.passes(9)
    agent.ask()
    expires = {row["expires_at"] for row in server.rows("lease")}
    assert expires == {clock.database() + 10_000_000}


def test_the_answer_to_a_report_may_be_lost_as_well(server):
    server.submit({"a": [], "b": ["a"], "c": ["b"]})
    agent = server.agent()
    first = agent.claim()
    [lost] = agent.ask_in_vain(ended(first), free=1).claims
    answer = agent.end(first, free=1)
    assert [receipt.accepted for receipt in answer.receipts] == [True]
    assert [claim.task for claim in answer.claims] == [lost.task]
    agent.end(answer.claims[0])
    assert agent.work() == ["c"]
    server.check()


def test_a_claim_is_not_handed_over_again_while_its_report_is_under_way(server):
    server.enqueued()
    agent = server.agent()
    claim = agent.claim()
    agent.held.clear()
    assert agent.ask(ended(claim, "failed")).claims == []


# A server that starts in the middle knows as much as the one before


def test_what_is_decided_does_not_depend_on_what_is_in_memory(server):
    """Every event of the run reaches a server that has just started, and the references count what is there."""
    definition = pipeline(
        [
            step("a"),
            step("b", "a", parameter_override={"General/second": "${a.models.output.1.url}"}),
            step("c", "a", parameter_override={"General/first": "${a.models.output.-2.url}"}),
            step("d", "a", parameter_override={"General/set": "${a.parameters.General/lr}"}),
        ]
    )
    run_id = server.submit(definition)
    agent = server.agent()
    claim = agent.claim()
    for command in (
        ModelAdded(id="m1", kind="output", name="m", url="u1"),
        ArtifactAdded(name="x", url="u2"),
        EndTask(status="completed"),
    ):
        server = server.restarted()
        server.do(claim.task.id, command)
        server.check()
    # There is one model, not two: what is not there fails the steps that ask for it.
    assert server.statuses(run_id) == {"a": "completed", "b": "failed", "c": "failed", "d": "failed"}


def test_a_restarted_server_takes_reports_for_what_its_predecessor_handed_out(store):
    server = Server(store)
    run_id = server.submit({"a": [], "b": ["a"], "c": ["b"]})
    agent = server.agent()
    claims = [agent.claim()]
    while claims:
        server = server.restarted()
        claims = agent.ask(ended(claims[0]), server=server).claims
    assert server.run(run_id).status == "completed"
    server.check()


def test_a_report_and_the_loss_of_the_same_attempt_in_one_batch_are_not_both_true(server):
    server.submit({"a": [], "b": ["a"]})
    agent = server.agent()
    claim = agent.claim()
    _, answer = together(
        server.store,
        lambda: server.agent("h:0"),
        lambda: agent.end(claim),
    )
    assert isinstance(answer, Superseded)
    assert server.task(claim.task.id).status == "queued"
    server.check()


def test_a_task_and_an_agent_of_the_same_batch_find_each_other(server, commits):
    agent = server.agent()
    before = len(commits)
    _, answer = together(server.store, lambda: server.submit({"a": []}), agent.ask)
    assert names(answer) == ["a"]
    assert len(commits) - before == 1
    server.check()


def test_an_agent_is_known_by_what_it_said_of_itself(server):
    asked = AgentRegistered(name="h:0", session=new_id(), queues=["gpu"], slots=3, host="h", pid=7, agent_version="1")
    answer = server.exchange.register(asked)
    agent = server.controller.state.agents[answer.id]
    assert (agent.name, agent.session, agent.status) == ("h:0", asked.session, "online")
    assert (agent.queues, agent.slots, agent.host) == (("gpu",), 3, "h")
