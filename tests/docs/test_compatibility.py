"""docs/migrating-from-clearml.md lists what the SDK accepts and does not need, as the SDK has it."""

from foldline.compat import IGNORED
from tests.support.house import ROOT


def rows() -> list[str]:
    return [
        f"| `{where}` | `{name}` | {why} |"
        for where, arguments in IGNORED.items()
        for name, (_, why) in arguments.items()
    ]


def test_every_accepted_keyword_is_listed_with_its_reason():
    document = (ROOT / "docs" / "migrating-from-clearml.md").read_text().splitlines()
    assert [line for line in document if line.startswith("| `")] == rows()
