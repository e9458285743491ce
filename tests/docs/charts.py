"""docs/charts.md, made from the charts themselves: `python -m tests.docs.charts` writes it."""

from pathlib import Path

from domain.lifecycle import RUN, STEP, TASK, Table

PAGE = Path(__file__).parents[2] / "docs" / "charts.md"
HEAD = """\
# State charts

What may happen to a task, a run and a step. Made from the charts in `domain/lifecycle.py`, which decide about every
command; a test compares. After a change: `python -m tests.docs.charts`.
"""
CHARTS = (
    ("Task", "Every start is a numbered attempt. A task that leaves its queue goes back to what it was before.", TASK),
    ("Run", "A run that is asked to stop ends when none of its steps is open any more.", RUN),
    ("Step", "A step has no stream of its own: its status follows from its run's events and its task's.", STEP),
)


def mermaid(table: Table) -> str:
    """The chart as a Mermaid state diagram; a state without a way out is an end."""
    lines = ["stateDiagram-v2"]
    for (source, trigger), target in table.items():
        lines.append(f"    {'[*]' if source == 'absent' else source} --> {target}: {trigger}")
    sources = {source for source, _ in table}
    lines += [f"    {state} --> [*]" for state in dict.fromkeys(table.values()) if state not in sources]
    return "\n".join(lines)


def page() -> str:
    sections = [f"## {title}\n\n{said}\n\n```mermaid\n{mermaid(table)}\n```\n" for title, said, table in CHARTS]
    return "\n".join([HEAD, *sections])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
