"""Exchanges that overlap: what is offered, and what is made of the answers."""

import pytest

from foldline.agent.roster import Roster


class Attempt:
    def __init__(self, claim):
        self.key = (claim["task_id"], claim["attempt"])


def claim(task_id, attempt=1):
    return {"task_id": task_id, "attempt": attempt}


@pytest.fixture
def roster():
    return Roster(2, Attempt)  # pyright: ignore[reportArgumentType]


def taken(roster, *claims):
    return [attempt.key for attempt in roster.settle(roster.offer(), claims)]


def test_a_slot_is_offered_once_however_many_exchanges_are_under_way(roster):
    poll, report = roster.offer(), roster.offer()
    assert (poll.free, report.free) == (2, 0)
    roster.settle(poll)
    assert roster.offer().free == 2


def test_a_claim_takes_a_slot_until_its_report_goes_out(roster):
    assert taken(roster, claim("a")) == [("a", 1)]
    assert roster.offer().free == 1
    roster.ended(("a", 1))
    with_its_report = Roster.offer(roster, [claim("a")])
    assert with_its_report.free == 1, "the other slot is promised to the first exchange"


def test_an_ended_attempt_is_no_free_slot_to_an_exchange_without_its_report(roster):
    taken(roster, claim("a"), claim("b"))
    roster.ended(("a", 1))
    poll = roster.offer()
    assert poll.free == 0
    roster.settle(poll)
    assert roster.offer([claim("a")]).free == 1


def test_it_is_held_until_its_report_was_answered(roster):
    taken(roster, claim("a"))
    roster.ended(("a", 1))
    assert roster.offer().held == [claim("a")]
    assert not roster.is_idle()
    roster.forget(("a", 1))
    assert roster.offer().held == roster.held() == []


def test_a_claim_on_two_answers_is_one_attempt(roster):
    older, newer = roster.offer(), roster.offer()
    assert [each.key for each in roster.settle(newer, [claim("a")])] == [("a", 1)]
    assert roster.settle(older, [claim("a")]) == []


@pytest.mark.parametrize("over", ["ended", "forget"])
def test_an_answer_long_on_its_way_does_not_start_an_attempt_again(roster, over):
    late = roster.offer()
    taken(roster, claim("a"))
    getattr(roster, over)(("a", 1))
    assert roster.settle(late, [claim("a")]) == []
    assert taken(roster, claim("a", 2)) == [("a", 2)], "the next attempt is another thing"


def test_a_draining_agent_offers_nothing_but_takes_what_it_had_offered(roster):
    before = roster.offer()
    roster.drain()
    assert roster.offer().free == 0
    assert not roster.has_free()
    assert [each.key for each in roster.settle(before, [claim("a")])] == [("a", 1)]


def test_a_closed_roster_takes_nothing_and_names_what_it_held(roster):
    before = roster.offer()
    taken(roster, claim("a"), claim("b"))
    roster.ended(("a", 1))
    assert {attempt.key for attempt in roster.close()} == {("a", 1), ("b", 1)}
    assert roster.settle(before, [claim("c")]) == []


def test_it_is_not_idle_while_an_answer_may_bring_work(roster):
    offer = roster.offer()
    assert not roster.is_idle()
    roster.settle(offer)
    assert roster.is_idle()


def test_more_claims_than_slots_leave_nothing_free(roster):
    taken(roster, claim("a"), claim("b"), claim("c"))
    assert roster.offer().free == 0
