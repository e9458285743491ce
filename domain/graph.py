"""The shape of a pipeline: who waits for whom."""

from collections import deque
from collections.abc import Mapping, Sequence

from domain.refused import Invalid


def children_of(parents: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """{step: those that wait for it}, in the order of definition."""
    children: dict[str, list[str]] = {step: [] for step in parents}
    for step, waits_for in parents.items():
        for parent in waits_for:
            children[parent].append(step)
    return {step: tuple(found) for step, found in children.items()}


def in_order(parents: Mapping[str, Sequence[str]]) -> list[str]:
    """The steps, each after its parents. Raises Invalid, naming a cycle."""
    children = children_of(parents)
    left = {step: len(waits_for) for step, waits_for in parents.items()}
    ready = deque(step for step, count in left.items() if count == 0)
    order: list[str] = []
    while ready:
        step = ready.popleft()
        order.append(step)
        for child in children[step]:
            left[child] -= 1
            if left[child] == 0:
                ready.append(child)
    if len(order) < len(parents):
        raise Invalid(f"The steps wait for each other in a circle: {' -> '.join(_cycle(parents, left))}.", "steps")
    return order


def _cycle(parents: Mapping[str, Sequence[str]], left: Mapping[str, int]) -> list[str]:
    """One circle among the steps that never became ready: each of them has a parent that did not either."""
    step = next(step for step, count in left.items() if count > 0)
    seen: list[str] = []
    while step not in seen:
        seen.append(step)
        step = next(parent for parent in parents[step] if left[parent] > 0)
    circle = seen[seen.index(step) :]
    return [step, *reversed(circle)]
