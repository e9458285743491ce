"""A large run opened from a snapshot is the run that all of its events make; any other snapshot counts for nothing."""

from collections.abc import Iterator
from contextlib import closing

import pytest
from msgspec.structs import replace
from sqlalchemy import text

from controller import snapshots
from controller.folding import fold_on
from controller.reading import Reader
from controller.snapshots import Keeper, decode, encode
from controller.verify import verify_run
from domain.pipeline import HostDefinition
from domain.run import AddStep, Run
from domain.run_state import NO_GATES
from eventstore import reads
from eventstore.snapshots import Snapshots
from eventstore.sql import SqlAppend, SqlStore, open_store
from eventstore.store import StoreUnavailable
from tests.controller.server import LR, Server, evolved, pipeline, plain, step
from tests.support.waiting import wait_until

LEAST = 10  # events: a run of a few steps is a large one


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> Iterator[SqlStore]:
    url = request.getfixturevalue("emptied_postgres_url" if request.param == "postgres" else "sqlite_url")
    with closing(open_store(url)) as store:
        yield store


@pytest.fixture
def file(sqlite_url: str) -> Iterator[SqlStore]:
    with closing(open_store(sqlite_url)) as store:
        yield store


def large(store: SqlStore) -> tuple[Server, Keeper, str]:
    """A server that keeps snapshots, and a run of four steps after one another that has not begun (5 events each)."""
    keeper = Keeper(Snapshots(store.database), least=LEAST)
    server = Server(store, keeper=keeper)
    return server, keeper, server.submit({"a": [], "b": ["a"], "c": ["b"], "d": ["c"]})


def works(server: Server, steps: int) -> None:
    agent = server.agent()
    for _ in range(steps):
        agent.end(agent.claim())


def kept(store: SqlStore) -> dict[str, int]:
    """{run id: version of its snapshot}"""
    return {row[0]: row[1] for row in store.database.fetch("SELECT run_id, version FROM snapshot", ())}


def spoilt(store: SqlStore, column: str, value: str | bytes | int) -> None:
    with store.database.writing() as connection:
        connection.execute(text(f"UPDATE snapshot SET {column} = :value"), {"value": value})


def found(store: SqlStore, run_id: str) -> Run | None:
    """The run's snapshot, as another process finds it."""
    return Keeper(Snapshots(store.database), least=LEAST).find(run_id, Reader(store).text)


def follows(store: SqlStore, keeper: Keeper, run_id: str) -> None:
    """A command of another server to the run."""
    Server(store, queues=(), keeper=keeper).follows(run_id)


def opened(store: SqlStore, run_id: str) -> Run:
    """The run, as another process opens it."""
    return Reader(store, Keeper(Snapshots(store.database), least=LEAST)).run(run_id)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """After which versions events of runs are asked for."""
    asked: list[int] = []
    tell = reads.Reads.told

    def noted(self: reads.Reads, run_id: str, *, after: int = 0, upto: int | None = None):
        asked.append(after)
        return tell(self, run_id, after=after, upto=upto)

    monkeypatch.setattr(reads.Reads, "told", noted)
    return asked


def test_every_state_of_a_run_comes_back_and_goes_on(server):
    steps = [
        step("a"),
        step("b", "a", hooks=("pre", "status"), parameter_override={"General/lr": "${pipeline.lr}"}),
        step("c", "a", time_limit=60.0),
    ]
    run_id = server.submit(pipeline(steps, defaults={"lr": 0.1}, host=HostDefinition(), time_limit=600.0))
    services, agent = server.agent("s:0", queues=("services",)), server.agent()
    services.claim()
    agent.end(agent.claim(), "completed")
    services.answer(run_id, "pre", verdict=True)
    agent.work()
    last = plain(evolved(server.store, run_id))
    assert any(run.hooks and run.timers for _, _, run in server.reader.states(run_id))
    for _, _, run in server.reader.states(run_id):
        again = decode(encode(run), server.reader.text)
        assert plain(again) == plain(run)
        assert again.plan is run.plan
        assert plain(fold_on(again, server.store.told(run_id, after=run.version))) == last


def test_the_steps_that_were_added_to_a_run_are_in_its_plan_again(server):
    run_id = server.submit(pipeline([], dynamic=True, host=HostDefinition()))
    host = server.agent("s:0", queues=("services",))
    host.claim()
    for call, (name, *parents) in enumerate(["a", "ba"]):
        fields = {"session": host.session, "attempt": host.held[run_id], "content": "", "fingerprint": name}
        server.tell(run_id, AddStep(call=call, step=step(name, *parents, task=LR), **fields))
    run = server.run(run_id)
    again = decode(encode(run), server.reader.text)
    assert plain(again) == plain(run)
    assert (again.plan.names, again.plan.steps) == (("a", "b"), run.plan.steps)
    assert (again.plan.parents, again.plan.children) == (run.plan.parents, run.plan.children)
    assert again.plan.contents == run.plan.contents


def test_a_plain_step_is_still_one_that_can_be_taken_in_at_once(server):
    run_id = server.submit({"a": [], "b": []})
    server.agent().work()
    again = decode(encode(server.run(run_id)), server.reader.text)
    assert [again.step(name).gates is NO_GATES for name in "ab"] == [True, True]


def test_a_state_that_does_not_fit_into_one_part_is_kept_in_several(server, monkeypatch):
    monkeypatch.setattr(snapshots, "STEPS_AT_ONCE", 2)
    run_id = server.submit({"a": [], "b": [], "c": []})
    server.agent().work()
    run = server.run(run_id)
    assert plain(decode(encode(run), server.reader.text)) == plain(run)


def test_what_no_snapshot_can_hold_is_refused_and_not_left_out(server):
    run = server.run(server.submit({"a": []}))
    with pytest.raises(NotImplementedError, match="object"):
        encode(replace(run, parameters={"x": object()}))


def test_a_run_is_opened_from_its_snapshot_and_what_came_after_it(database, told):
    server, keeper, run_id = large(database)
    works(server, 2)
    keeper.keep_offered()
    [version] = kept(database).values()
    works(server, 1)
    whole = plain(evolved(database, run_id))
    told.clear()
    assert plain(opened(database, run_id)) == whole
    assert told == [0, version], "the events before the snapshot are not asked for again"
    other = Server(database, queues=(), keeper=Keeper(Snapshots(database.database), least=LEAST))
    told.clear()
    other.follows(run_id)
    assert told == [0, version]
    works(other, 1)
    assert plain(other.controller.state.runs[run_id]) == plain(evolved(database, run_id))
    assert server.run(run_id).status == "completed"
    server.check()


def test_a_small_run_is_asked_for_no_snapshot(file, told):
    keeper = Keeper(Snapshots(file.database), least=1_000)
    server = Server(file, keeper=keeper)
    run_id = server.submit({"a": []})
    asked: list[str] = []
    keeper.find = lambda run_id, text: asked.append(run_id)
    server.agent().work()
    told.clear()
    Reader(file, keeper).run(run_id)
    assert (told, asked) == ([0], [])


@pytest.mark.parametrize(
    ("column", "value"),
    [
        pytest.param("code", "another", id="of another program"),
        pytest.param("leaf", bytes(32), id="of another log"),
        pytest.param("version", 1_000, id="of an event that is not there"),
        pytest.param("data", b"broken", id="broken"),
        pytest.param("data", b"", id="empty"),
    ],
)
def test_a_snapshot_that_does_not_count_is_passed_over(file, column, value):
    server, keeper, run_id = large(file)
    works(server, 2)
    keeper.keep_offered()
    assert found(file, run_id) is not None
    spoilt(file, column, value)
    assert found(file, run_id) is None
    assert plain(opened(file, run_id)) == plain(evolved(file, run_id))


def test_a_snapshot_that_is_broken_anywhere_counts_for_nothing(file, monkeypatch):
    server, _, run_id = large(file)
    works(server, 2)
    data = encode(server.run(run_id))
    for place in range(len(data)):
        for broken in (data[:place], data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]):
            monkeypatch.setattr(Snapshots, "find", lambda *asked, broken=broken: broken)
            assert found(file, run_id) is None, place


def test_a_log_that_was_put_back_passes_over_the_snapshots_of_the_other(database, tmp_path):
    """Its events have the same numbers, and are others."""
    server, keeper, run_id = large(database)
    works(server, 3)
    keeper.keep_offered()
    rows = database.database.fetch("SELECT run_id, version, code, leaf, data FROM snapshot", ())
    with closing(open_store(f"sqlite:///{tmp_path / 'restored.db'}")) as restored:
        again = Server(restored)
        again.submit({"a": [], "b": ["a"], "c": ["b"], "d": ["c"]}, run_id=run_id)
        with restored.database.writing() as connection:
            insert = text("INSERT INTO snapshot VALUES (:run_id, :version, :code, :leaf, :data)")
            names = ("run_id", "version", "code", "leaf", "data")
            connection.execute(insert, [dict(zip(names, row, strict=True)) for row in rows])
        assert found(restored, run_id) is None, "it ends before the snapshot"
        works(again, 4)
        assert found(restored, run_id) is None, "it has gone on otherwise"
        assert plain(opened(restored, run_id)) == plain(evolved(restored, run_id))


def test_a_snapshot_is_made_when_a_run_has_doubled_and_when_it_has_ended(file):
    keeper = Keeper(Snapshots(file.database), least=LEAST)
    server = Server(file, keeper=keeper)
    names = [f"s{n}" for n in range(8)]
    run_id = server.submit({name: names[max(n - 1, 0) : n] for n, name in enumerate(names)})
    versions: list[int] = []
    agent = server.agent()
    while claims := agent.ask(free=1).claims:
        agent.end(claims[0])
        keeper.keep_offered()
        version = kept(file).get(run_id, 0)
        if version and version not in versions:
            versions.append(version)
    last = server.run(run_id).version
    assert server.run(run_id).status == "completed"
    assert versions[0] >= LEAST
    assert versions[1] >= 2 * versions[0]
    assert versions[-1] == last or last - versions[-1] < LEAST


def test_the_end_of_a_run_is_kept_though_it_has_not_doubled(file, monkeypatch):
    server, keeper, run_id = large(file)
    run = server.run(run_id)
    made: list[int] = []
    keeper.keep_offered()
    monkeypatch.setattr(Snapshots, "keep", lambda self, run_id, version, code, data: made.append(version))
    for version, ended_at in [(100, None), (115, None), (109, 1), (115, 1), (124, 1)]:
        keeper.offer(replace(run, version=version, ended_at=ended_at))
        keeper.keep_offered()
    assert made == [100, 115]
    for version in (300, 600):
        keeper.offer(replace(run, version=version))
    keeper.keep_offered()
    assert made == [100, 115, 600], "of one run the newest only"


def test_what_was_not_committed_is_not_offered(file, monkeypatch):
    server, keeper, run_id = large(file)
    works(server, 3)
    offered: list[int] = []
    monkeypatch.setattr(keeper, "offer", lambda run: offered.append(run.version))
    agent = server.agent()
    claim = agent.claim()
    before, committed = server.run(run_id).version, SqlAppend.commit

    def fails(batch: SqlAppend) -> None:
        raise StoreUnavailable("the disk is away")

    offered.clear()
    monkeypatch.setattr(SqlAppend, "commit", fails)
    with pytest.raises(StoreUnavailable):
        agent.end(claim)
    assert offered == []
    monkeypatch.setattr(SqlAppend, "commit", committed)
    agent.end(claim)
    assert server.run(run_id).version > before
    assert offered[-1] == server.run(run_id).version


def test_a_run_that_had_to_be_folded_is_kept_for_the_next_time(file):
    """By whoever had to, the reader or a command; also when somebody has deleted its snapshot."""
    server, _, run_id = large(file)
    works(server, 4)
    assert kept(file) == {}
    for opens in (lambda keeper: Reader(file, keeper).run(run_id), lambda keeper: follows(file, keeper, run_id)):
        keeper = Keeper(Snapshots(file.database), least=LEAST)
        opens(keeper)
        keeper.keep_offered()
        assert kept(file) == {run_id: server.run(run_id).version}
        with file.database.writing() as connection:
            connection.execute(text("DELETE FROM snapshot"))


def test_the_thread_keeps_what_is_offered_and_outlives_a_failure(file, monkeypatch):
    server, _, run_id = large(file)
    works(server, 4)
    run, keeper = server.run(run_id), Keeper(Snapshots(file.database), least=LEAST)
    logged: list[str] = []
    monkeypatch.setattr(snapshots.log, "exception", lambda said: logged.append(said))
    keeper.offer(replace(run, id="of another run", parameters={"x": object()}))
    keeper.offer(run)
    keeper.start()
    try:
        wait_until(lambda: kept(file), "the second one is kept")
    finally:
        keeper.stop()
    assert kept(file) == {run_id: run.version}
    assert plain(found(file, run_id)) == plain(run)
    [said] = logged
    assert "could not be kept" in said


def test_verify_compares_the_snapshot_with_its_own_fold(file):
    server, keeper, run_id = large(file)
    works(server, 3)
    keeper.keep_offered()
    run = found(file, run_id)
    assert run is not None
    works(server, 1)
    assert verify_run(file, run_id, keeper=keeper).ok
    wrong = replace(run, open=7, steps=run.steps.set("a", replace(run.step("a"), status="failed")))
    spoilt(file, "data", encode(wrong))
    [difference] = verify_run(file, run_id, keeper=keeper).differences
    assert (difference.what, difference.found) == ("snapshots", ["steps", "open"])
    assert difference.where == f"snapshot as of event {run.version}"
    spoilt(file, "data", b"broken")
    assert verify_run(file, run_id, keeper=keeper).ok, "it counts for nothing"


def test_another_domain_is_another_program(tmp_path, monkeypatch):
    (tmp_path / "run.py").write_text("the same\n")
    monkeypatch.setattr(snapshots.domain, "__path__", [str(tmp_path)])
    before = snapshots.code.__wrapped__()
    assert snapshots.code.__wrapped__() == before
    (tmp_path / "run.py").write_text("another\n")
    assert snapshots.code.__wrapped__() != before
