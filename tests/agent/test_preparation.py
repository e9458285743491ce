"""What an attempt finds that its sources say something about: folders, modules, files left out, pickles."""

import hashlib
import json

import pytest

from foldline import pickled, sources
from foldline.agent import spawners
from tests.agent.canned import claim_for

ABOUT = json.dumps({"paths": ["src"], "left_out": ["data/big.bin"]})


def give(server, script, files=None, **more):
    source = None if files is None else server.store_sources(files)
    claim = claim_for({"working_dir": ".", "source": source, "arguments": [], **script}, **more)
    server.give(claim)
    return claim


def test_a_script_and_a_function_find_the_folders_that_their_author_imported_from(server, start_agent):
    files = {
        sources.ABOUT: ABOUT,
        "src/shop/__init__.py": "PRICE = 3",
        "main.py": "def step():\n    import shop\n    print(shop.PRICE)\nif __name__ == '__main__': step()\n",
    }
    script = give(server, {"entry_point": "main.py"}, files, name="script")
    function = give(server, {"entry_point": "main.py", "function": "step"}, files, name="function")
    start_agent(slots=2)
    server.wait_for_reports(2)
    assert [server.log_of(claim) for claim in (script, function)] == [b"3\n", b"3\n"]


def test_a_module_runs_as_python_m_in_its_folder(server, start_agent):
    files = {"src/pkg/__init__.py": "", "src/pkg/near.py": "X = 1", "src/pkg/run.py": "from .near import X\nprint(X)\n"}
    claim = give(server, {"entry_point": "-m pkg.run", "working_dir": "src"}, files)
    start_agent()
    [report] = server.wait_for_reports()
    assert report["status"] == "completed", server.log_of(claim)
    assert server.log_of(claim) == b"1\n"


@pytest.mark.parametrize("function", ["", "step"], ids=["script", "function"])
def test_who_misses_a_file_that_was_too_large_is_told_so(server, start_agent, function):
    text = "def step():\n    open('data/big.bin')\nif __name__ == '__main__': step()\n"
    files = {sources.ABOUT: ABOUT, "main.py": text, "data/small.txt": ""}
    claim = give(server, {"entry_point": "main.py", **({"function": function} if function else {})}, files)
    start_agent()
    [report] = server.wait_for_reports()
    assert report["status"] == "failed"
    assert report["reason"].startswith("FileNotFoundError: [Errno 2]")
    assert "data/big.bin is over 1 MB and did not travel with the sources" in report["reason"]
    assert b"did not travel" in server.log_of(claim).splitlines()[-1]


@pytest.fixture
def pickle_step(server):
    """Make the claim of a function that travels as a pickle."""

    def make(data, **more):
        digest = hashlib.sha256(data).hexdigest()
        server.blobs[digest] = data
        return give(server, {"function": "step", "pickle": digest, "returns": ["value"]}, **more)

    return make


def nested(factor):
    def step():
        import os

        print("called from", os.getppid())
        return 3 * factor

    step.__module__ = "__main__"
    return step


def test_a_pickled_function_runs_and_is_loaded_once(server, start_agent, pickle_step):
    data = pickled.dump(nested(2), "step")
    claims = [pickle_step(data, name=str(number)) for number in range(2)]
    start_agent()
    reports = server.wait_for_reports(2)
    assert {report["status"] for report in reports} == {"completed"}, server.logs
    for claim in claims:
        assert server.edits[claim["task_id"]][0]["hyperparameters"]["return"]["value"]["value"] == 6
    assert len({server.log_of(claim) for claim in claims}) == 1, "forked from one process"


def test_another_pickle_is_another_process(server, start_agent, pickle_step):
    claims = [pickle_step(pickled.dump(nested(n), "step"), name=str(n)) for n in (1, 2)]
    start_agent()
    server.wait_for_reports(2)
    values = [server.edits[claim["task_id"]][0]["hyperparameters"]["return"]["value"]["value"] for claim in claims]
    assert values == [3, 6]
    if spawners.FORK_IS_SAFE:
        assert server.log_of(claims[0]) != server.log_of(claims[1])


def test_a_pickle_of_another_python_fails_with_the_cure(server, start_agent, pickle_step):
    data = pickled.dump(nested(2), "step").replace(b'"python": "3.', b'"python": "2.', 1)
    pickle_step(data)
    start_agent()
    [report] = server.wait_for_reports()
    assert report["status"] == "failed"
    assert "step was pickled by Python 2." in report["reason"]
