"""The test suite's own machinery: databases, leftovers, and skips that may not pass unseen."""

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import psycopg
import pytest

from tests.support.throwaway_postgres import throwaway_postgres, wheel_programs
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]


def run_pytest(folder: Path, test: str, *, must_run: bool = False) -> subprocess.CompletedProcess[str]:
    """Pytest in its own process, on one file, with this suite's plugins and settings of its own."""
    (folder / "pytest.toml").write_text('[pytest]\nmarkers = ["may_skip: in CI too"]\n')
    (folder / "test_it.py").write_text(dedent(test))
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "FOLDLINE_MUST_RUN")}
    environment |= {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    if must_run:
        environment["CI"] = "true"
    plugins = ["-p", "tests.support.leftovers", "-p", "tests.support.must_run"]
    command = [sys.executable, "-m", "pytest", *plugins, "-rA", "-p", "no:cacheprovider", "test_it.py"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)


SKIPS = """
    import pytest

    def test_skips():
        pytest.skip("no server here")

    @pytest.fixture
    def server():
        pytest.skip("no fixture here")

    def test_skips_in_a_fixture(server): ...

    @pytest.mark.xfail(reason="known")
    def test_fails_as_expected():
        assert False

    @pytest.mark.may_skip
    @pytest.mark.skipif(True, reason="other systems only")
    def test_may_skip(): ...
"""


def test_a_skip_fails_where_everything_must_run(tmp_path):
    run = run_pytest(tmp_path, SKIPS, must_run=True)
    assert run.returncode == pytest.ExitCode.TESTS_FAILED
    assert "must run here (CI=true or FOLDLINE_MUST_RUN=1), but: Skipped: no server here" in run.stdout
    assert "ERROR test_it.py::test_skips_in_a_fixture" in run.stdout
    assert "1 failed, 1 skipped, 1 xfailed, 1 error in" in run.stdout


def test_a_module_that_skips_itself_fails_where_everything_must_run(tmp_path):
    run = run_pytest(tmp_path, "import pytest\npytest.importorskip('no_such_package')", must_run=True)
    assert run.returncode == pytest.ExitCode.INTERRUPTED
    assert "could not import 'no_such_package'" in run.stdout


def test_a_skip_is_a_skip_elsewhere(tmp_path):
    run = run_pytest(tmp_path, SKIPS)
    assert run.returncode == pytest.ExitCode.OK
    assert "3 skipped, 1 xfailed in" in run.stdout


def test_a_process_left_behind_fails_the_run_and_is_named_and_ended(tmp_path):
    """Its parent has ended, so it is nobody's child any more."""
    run = run_pytest(
        tmp_path,
        """
        import subprocess

        def test_forgets():
            subprocess.run(["sh", "-c", "sleep 321 >/dev/null 2>&1 & echo $! >pid"], check=True)
        """,
    )
    assert run.returncode == pytest.ExitCode.TESTS_FAILED
    assert "'sleep 321', started by test_it.py::test_forgets (call)" in run.stdout
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_a_tidy_run_passes(tmp_path):
    run = run_pytest(
        tmp_path, "import subprocess\n\ndef test_waits():\n    subprocess.run(['sh', '-c', 'exit 0'], check=True)"
    )
    assert run.returncode == pytest.ExitCode.OK, run.stdout


@pytest.mark.parametrize("turn", ["first", "second"])
def test_every_test_gets_its_own_empty_postgres(postgres_url, turn):
    with psycopg.connect(postgres_url) as connection:
        connection.execute("CREATE TABLE events (turn text)")
        version = connection.info.server_version
    assert version >= 140000


def test_asking_for_postgres_marks_the_test(request, postgres_url):
    assert request.node.get_closest_marker("postgres")


def test_the_sqlite_address_is_absolute_and_the_file_not_there_yet(sqlite_url):
    assert sqlite_url.startswith("sqlite:////")
    assert not Path(sqlite_url.removeprefix("sqlite:///")).exists()


def modes_above(path: Path) -> dict[Path, int]:
    return {folder: folder.stat().st_mode for folder in path.parents}


def test_a_throwaway_postgres_opens_no_folder_and_leaves_none():
    programs = wheel_programs()
    if programs is None:
        pytest.skip("the wheel with PostgreSQL is not installed")
    before = modes_above(programs)
    with throwaway_postgres(programs) as url:
        folder = Path(url.partition("?host=")[2])
        assert folder.stat().st_mode & 0o777 == 0o700
        with psycopg.connect(url) as connection:
            assert connection.execute("SHOW listen_addresses").fetchone() == ("",)
        assert modes_above(programs) == before
    assert not folder.exists()
    assert modes_above(programs) == before


def test_a_throwaway_postgres_that_cannot_start_says_why(tmp_path):
    with pytest.raises(RuntimeError, match="set TEST_POSTGRES_URL"), throwaway_postgres(tmp_path):
        pass


def test_a_throwaway_postgres_ends_with_the_run_that_was_killed(tmp_path):
    """Killed, not ended: nothing of the test run's own gets to clean up."""
    programs = wheel_programs()
    if programs is None:
        pytest.skip("the wheel with PostgreSQL is not installed")
    script = dedent(
        f"""
        import os, signal
        from pathlib import Path
        from tests.support.throwaway_postgres import throwaway_postgres
        with throwaway_postgres(Path({str(programs)!r})) as url:
            print(url, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    killed = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert killed.returncode == -9
    folder = Path(killed.stdout.strip().partition("?host=")[2])
    wait_until(lambda: not folder.exists(), "the server's folder is gone")
