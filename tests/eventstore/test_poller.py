"""What it costs to notice what other processes commit: one cheap query a second and process while nothing happens."""

from collections.abc import Callable, Mapping

import psycopg
import pytest

from eventstore.poller import QUICKEST, SLOWEST, Poller
from eventstore.signals import Signals
from eventstore.sql import SqlStore
from eventstore.store import NewEvent, append


class Pauses:
    """In the place of the event that ends the polling: it notes the pauses, and ends them after so many."""

    def __init__(self, most: int) -> None:
        self.most, self.lengths = most, list[float]()

    def wait(self, seconds: float) -> bool:
        self.lengths.append(seconds)
        return len(self.lengths) > self.most


class Heads:
    """A store whose head moves when it is asked for the `news`th time."""

    shards = 1

    def __init__(self, news: int = 0) -> None:
        self.asked, self._news = 0, news

    def heads(self, shards: int) -> Mapping[int, int]:
        self.asked += 1
        return {0: 1 if self._news and self.asked >= self._news else 0}


def polled(store: Heads, times: int, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses before each of so many questions, and before the one that was not asked any more."""
    poller, pauses = Poller(store, Signals(1)), Pauses(times)
    monkeypatch.setattr(poller, "_stop", pauses)
    poller._run()
    return pauses.lengths


def test_who_hears_nothing_new_asks_once_a_second(monkeypatch: pytest.MonkeyPatch):
    store = Heads()
    pauses = polled(store, 20, monkeypatch)
    assert (pauses[0], pauses[-1], store.asked) == (QUICKEST, SLOWEST, 20)
    assert pauses == sorted(pauses)
    assert pauses.count(SLOWEST) >= 8, "it slows down at once"


def test_who_hears_something_new_asks_often_again(monkeypatch: pytest.MonkeyPatch):
    pauses = polled(Heads(news=15), 20, monkeypatch)
    assert (pauses[14], pauses[15]) == (SLOWEST, QUICKEST)


def test_the_question_is_one_statement_and_reads_one_entry_of_the_index_a_shard(
    emptied_postgres_url: str, opened: Callable[[str], SqlStore], monkeypatch: pytest.MonkeyPatch
):
    store = opened(emptied_postgres_url)
    append(store, [NewEvent(stream="task-1", type="Happened", data="{}")] * 50).result()
    asked = list[tuple[str, object]]()
    fetch = store.database.fetch
    monkeypatch.setattr(store, "_fetch", lambda sql, fields: (asked.append((sql, fields)), fetch(sql, fields))[1])
    assert store.heads(4) == {0: 50, 1: 0, 2: 0, 3: 0}
    [(sql, fields)] = asked
    with psycopg.connect(emptied_postgres_url) as connection:
        connection.execute("SET enable_seqscan = off")  # so few rows would be read whole
        plan = "\n".join(row[0] for row in connection.execute("EXPLAIN " + sql, fields))  # type: ignore[arg-type]
    assert "Index Only Scan Backward using event_pkey" in plan
    assert "Limit" in plan
    assert "Seq Scan on event" not in plan
