"""The file under a store: whatever its name is, and whatever becomes of it while it is open."""

from contextlib import closing
from pathlib import Path

import pytest

import eventstore.sqlite
from api.settings import Settings
from eventstore.errors import CannotOpen
from eventstore.sql import address_of, open_store
from eventstore.store import NewEvent, StoreUnavailable, append

EVENT = NewEvent(stream="task-1", type="Happened", data="{}")


@pytest.mark.parametrize(
    "name", ["with space", "100%", "per%20cent", "what?", "a#b", "ä–日本", "a'b\"c", "a;b&c", ":memory:"]
)
def test_any_name_can_be_written_as_an_address(tmp_path: Path, name: str):
    file = tmp_path / name / f"{name}.db"
    for address in (address_of(file), Settings(data=tmp_path / name).url):
        with closing(open_store(address)) as store:
            append(store, [EVENT]).result()
    found = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.db")}
    assert found == {f"{name}/{name}.db", f"{name}/foldline.db"}
    assert Settings(db=address_of(file)).sqlite_path == file


def test_what_stands_behind_a_question_mark_is_not_silently_left_out(tmp_path: Path):
    with pytest.raises(CannotOpen, match="write %3F"):
        open_store(f"sqlite:///{tmp_path}/a?b.db")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", ["", "-wal"])
def test_nothing_is_taken_into_a_file_that_was_removed(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch):
    """It would be gone with the process, and whoever was told that it is durable would have been told wrongly."""
    monkeypatch.setattr(eventstore.sqlite, "BETWEEN_LOOKS", 0.0)
    file, away = tmp_path / f"log.db{suffix}", tmp_path / "away"
    with closing(open_store(address_of(tmp_path / "log.db"))) as store:
        append(store, [EVENT]).result()
        assert len(store.read()) == 1
        file.rename(away)
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match=r"was removed or replaced.*backup"):
                append(store, [EVENT]).result()
        with pytest.raises(StoreUnavailable, match="was removed"), store.database.writing():
            pass
        assert len(store.read()) == 1, "who reads already goes on"
        with pytest.raises(StoreUnavailable, match="was removed"), store.database.reading():
            pass
        file.write_bytes(b"")
        with pytest.raises(StoreUnavailable, match="or replaced"):
            append(store, [EVENT]).result()
        away.rename(file)
        append(store, [EVENT]).result()
    with closing(open_store(address_of(tmp_path / "log.db"))) as store:
        assert len(store.read()) == 2
