import os
import subprocess
import sys

import pytest

from foldline.agent import names
from foldline.errors import FoldlineError


@pytest.fixture
def host(monkeypatch, tmp_path):
    """In the home that agents use when nobody names one."""
    monkeypatch.setattr(names.socket, "gethostname", lambda: "mill")
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / ".foldline" / "agents"


def test_agents_of_one_host_are_numbered(host):
    with names.claim(host) as first, names.claim(host) as second:
        assert [first.text, second.text] == ["mill:1", "mill:2"]
        assert first.folder != second.folder


def test_a_name_that_was_released_is_the_first_free_again(host):
    first, second = names.claim(host), names.claim(host)
    first.release()
    with second, names.claim(host) as third:
        assert third.text == "mill:1"


def test_agents_of_other_homes_have_other_names(tmp_path, host):
    """They know nothing of each other's locks, and two of one name would end each other's sessions."""
    with names.claim(host) as usual, names.claim(tmp_path / "a") as one, names.claim(tmp_path / "b") as other:
        assert usual.text == "mill:1"
        assert len({usual.text, one.text, other.text}) == 3
        assert one.text.startswith("mill-")


def test_a_wanted_name_that_is_taken_is_an_error_that_names_the_process(tmp_path):
    with names.claim(tmp_path, "blue"), pytest.raises(FoldlineError, match=rf"'blue'.*process {os.getpid()}.*--name"):
        names.claim(tmp_path, "blue")


def test_a_name_dies_with_its_process(tmp_path):
    code = f"import os, pathlib; from foldline.agent import names; names.claim(pathlib.Path({str(tmp_path)!r}), 'blue')"
    environment = os.environ | {"PYTHONPATH": os.path.dirname(os.path.dirname(names.__file__)) + "/.."}
    subprocess.run([sys.executable, "-c", code + "; os._exit(9)"], env=environment, timeout=30)
    assert (tmp_path / "blue").is_dir()
    with names.claim(tmp_path, "blue") as name:
        assert name.text == "blue"


@pytest.mark.parametrize("text", ["../x", "..", ".", "a/b", "mill:1", 'ü "quoted"', "a%2Fb"])
def test_any_name_has_one_folder_below_the_others(tmp_path, text):
    with names.claim(tmp_path, text) as name:
        assert name.folder.parent == tmp_path
        assert ":" not in name.folder.name, "it would end an entry of PYTHONPATH"
        assert [each.name for each in tmp_path.iterdir()] == [name.folder.name]
