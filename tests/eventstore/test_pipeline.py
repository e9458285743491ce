"""Statements sent together on a connection's own libpq."""

from collections.abc import Iterator

import psycopg
import psycopg.errors
import pytest

from eventstore.pipeline import Pipeline

INSERT = "INSERT INTO note VALUES ($1, $2, $3, $4)"


@pytest.fixture
def pipeline(postgres_url: str) -> Iterator[Pipeline]:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE note (number BIGINT PRIMARY KEY, words TEXT, share FLOAT, bytes BYTEA)")
        yield Pipeline(connection)


def notes(pipeline: Pipeline) -> list[tuple[object, ...]]:
    return pipeline.fetch("SELECT number, words, share, bytes FROM note ORDER BY number", ())


def test_every_kind_of_value_arrives(pipeline: Pipeline):
    rows = [(2**60, "ä ✓ ' \\ \" $1 %s", 0.1, bytes(range(256))), (-1, "", -1e300, b""), (0, None, None, None)]
    pipeline.run([(INSERT, row) for row in rows])
    assert notes(pipeline) == sorted(rows)


def test_results_come_in_order(pipeline: Pipeline):
    results = pipeline.run([("SELECT 1", ()), ("SELECT $1::bigint + 1", (4,)), ("SELECT 1", ())])
    assert [result.get_value(0, 0) for result in results] == [b"1", b"5", b"1"]


def test_what_follows_an_error_is_not_carried_out(pipeline: Pipeline):
    begin, commit = ("BEGIN", ()), ("COMMIT", ())
    with pytest.raises(psycopg.errors.UniqueViolation):
        pipeline.run([begin, (INSERT, (1, "a", 1, b"")), (INSERT, (1, "b", 1, b"")), ("SELECT 7", ()), commit])
    assert not pipeline.idle
    pipeline.run([("ROLLBACK", ())])
    assert pipeline.idle
    assert notes(pipeline) == []
    # Statements that were and that were not prepared before the error: both can be used again.
    assert pipeline.run([("SELECT 7", ()), (INSERT, (1, "c", 1, b""))])[0].get_value(0, 0) == b"7"
    assert len(notes(pipeline)) == 1


def test_text_with_a_nul_is_refused_and_not_cut(pipeline: Pipeline):
    with pytest.raises(psycopg.DataError):
        pipeline.run([(INSERT, (1, "a\0b", 1, b""))])
    assert notes(pipeline) == []


def test_far_more_than_the_socket_holds_goes_through(pipeline: Pipeline):
    words = "x" * 10_000
    results = pipeline.run(
        [("SELECT $1::text", (words,)) if number % 2 else (INSERT, (number, words, 1, b"")) for number in range(2000)]
    )
    assert len(results) == 2000
    assert len(notes(pipeline)) == 1000


def test_a_lost_connection_is_an_error_and_stays_lost(pipeline: Pipeline, postgres_url: str):
    [pid] = pipeline.fetch("SELECT pg_backend_pid()", ())[0]
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(%s)", (pid,))
        assert not pipeline.lost
        with pytest.raises(psycopg.OperationalError):
            pipeline.run([("SELECT 1", ())])
    assert pipeline.lost
