"""What the README shows runs as it stands there."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.house import ROOT, House

README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with House(tmp_path) as house:
        house.serve()
        house.agent("-q", "default", "--slots", "2")
        yield house


def test_the_python_blocks_run(house: House, tmp_path: Path):
    train, pipeline = blocks("python")
    (tmp_path / "train.py").write_text(train)
    (tmp_path / "pipeline.py").write_text(pipeline)
    made = house.run_python("train.py")
    assert made.returncode == 0, made.stderr
    ran = house.run_python("pipeline.py", timeout=90)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1] == "the run has ended well: True"


def test_the_curl_line_submits_a_run_that_completes(house: House):
    line = next(block for block in blocks("sh") if block.startswith("curl"))
    done = subprocess.run(
        ["bash", "-c", line.replace("http://127.0.0.1:8420", house.url)], capture_output=True, text=True, check=True
    )
    run = house.wait(json.loads(done.stdout)["id"])
    assert run["status"] == "completed", run["reason"]


def test_its_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
