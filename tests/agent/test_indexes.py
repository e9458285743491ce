"""What pip is told, uv is told too."""

import pytest

from foldline.agent import indexes
from foldline.agent.tools import without_credentials


@pytest.fixture
def machine(tmp_path):
    """The environment of an account with this pip.conf."""

    def machine(text="", **variables):
        file = tmp_path / "config" / "pip" / "pip.conf"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config"), "PIP_CONFIG_FILE": "", **variables}

    return machine


INDEX = "https://name:secret@packages.example/simple"


def test_the_files_of_pip_are_read(machine):
    text = f"[global]\nindex-url = {INDEX}\nextra-index-url =\n    https://a.example\n    https://b.example\n"
    assert indexes.settings(machine(text)) | {"UV_INSECURE_HOST": "", "SSL_CERT_FILE": ""} == {
        "UV_INDEX_URL": INDEX,
        "UV_EXTRA_INDEX_URL": "https://a.example https://b.example",
        "UV_INSECURE_HOST": "",
        "SSL_CERT_FILE": "",
    }


def test_a_variable_of_pip_stands_over_its_files(machine):
    made = machine(f"[global]\nindex-url = {INDEX}\n", PIP_INDEX_URL="https://other.example")
    assert indexes.settings(made)["UV_INDEX_URL"] == "https://other.example"


@pytest.mark.parametrize("name", ["UV_INDEX_URL", "UV_DEFAULT_INDEX"])
def test_a_word_for_uv_itself_stands_over_both(machine, name):
    assert "UV_INDEX_URL" not in indexes.settings(machine(PIP_INDEX_URL=INDEX, **{name: "https://mine.example"}))


def test_no_index_is_heeded(machine):
    assert indexes.is_off(machine("[install]\nno-index = true\n"))
    assert not indexes.is_off(machine("[install]\nno-index = false\n"))


def test_a_broken_file_is_left_to_pip(machine):
    assert "UV_INDEX_URL" not in indexes.settings(machine("no section here\n", PIP_CONFIG_FILE="/dev/null"))


def test_credentials_do_not_reach_a_log():
    assert without_credentials(f"error: {INDEX}/tiny not found") == (
        "error: https://packages.example/simple/tiny not found"
    )
