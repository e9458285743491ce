"""Conditions on tags, in ClearML's words: ["a", "-b"] or ["__$all", "a", "b", "__$or", "c", "__$not", "d"]."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

ALL = ("__$all", "__$and")
ANY = ("__$any", "__$or")
NOT = "__$not"


@dataclass(slots=True)
class _Group:
    """Tags under one operator; of each, whether it must be there."""

    every: bool
    tags: list[tuple[str, bool]] = field(default_factory=list[tuple[str, bool]])

    def holds(self, present: Collection[str]) -> bool:
        judge = all if self.every else any
        return not self.tags or judge((tag in present) == wanted for tag, wanted in self.tags)


def test(tags: Sequence[str]) -> Callable[[Collection[str]], bool]:
    """Whether the tags that a task has satisfy the condition.

    Without an operator one of the tags is enough. An operator holds for what follows it, __$not for the next tag
    alone; the first one also says how the groups are joined. `-tag` excludes, whatever the operator.
    """
    groups, excluded, join_all = _parsed(tags)

    def passes(present: Collection[str]) -> bool:
        if any(tag in present for tag in excluded):
            return False
        filled = [group for group in groups if group.tags]
        judge = all if join_all else any
        return not filled or judge(group.holds(present) for group in filled)

    return passes


def one_of(tags: Sequence[str]) -> list[str]:
    """The tags of which a task must have at least one, where the condition is no more than that and exclusions."""
    if any(tag.startswith("__$") for tag in tags):
        return []
    return [tag for tag in tags if not tag.startswith("-")]


def _parsed(tags: Sequence[str]) -> tuple[list[_Group], list[str], bool]:
    groups, excluded = [_Group(every=False)], list[str]()
    first: bool | None = None
    negated = False
    for tag in tags:
        if tag in ALL or tag in ANY:
            groups.append(_Group(every=tag in ALL))
            first = groups[-1].every if first is None else first
        elif tag == NOT:
            negated = True
        elif tag.startswith("-") and not negated:
            excluded.append(tag[1:])
        else:
            groups[-1].tags.append((tag, not negated))
            negated = False
    return groups, excluded, first is not False
