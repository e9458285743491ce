"""The tree of a shard as a verification makes it anew, and what of it is compared with what is stored or kept."""

from collections.abc import Iterable

from eventstore.audit.tree import LEVEL
from eventstore.merkle import WIDTH, Frontier, hash_at


class Growth:
    """`marks` are the sizes at which the root will be asked for."""

    def __init__(self, marks: Iterable[int]) -> None:
        self.lost = False
        """Whether a signed root could not be reached: then none later can, and the tree proves nothing."""
        self._marks = sorted(set(marks))
        self._frontier = Frontier(keep=LEVEL)
        self._nodes = bytearray()
        self._roots: dict[int, bytes] = {}

    @property
    def size(self) -> int:
        return self._frontier.size

    def add(self, leaves: bytes) -> None:
        self._take(*self._with(leaves))

    def reaches(self, leaves: bytes, root: bytes) -> bool:
        """Add leaves if they lead to this root. Returns whether they do."""
        frontier, nodes, roots = self._with(leaves)
        if frontier.root() != root:
            return False
        self._take(frontier, nodes, roots)
        return True

    def root_at(self, size: int) -> bytes:
        """The root at one of the marks that have been passed."""
        return self._roots[size]

    def nodes(self) -> list[bytes]:
        """The roots of the full subtrees so far, as they should be stored."""
        nodes = bytes(self._nodes)
        return [hash_at(nodes, number) for number in range(len(nodes) // WIDTH)]

    def _with(self, leaves: bytes) -> tuple[Frontier, bytes, dict[int, bytes]]:
        frontier, nodes, roots = self._frontier.copy(), b"", dict[int, bytes]()
        start, end = frontier.size, frontier.size + len(leaves) // WIDTH
        for mark in self._marks:
            if start < mark <= end:
                nodes += frontier.extend(leaves[(frontier.size - start) * WIDTH : (mark - start) * WIDTH])
                roots[mark] = frontier.root()
        nodes += frontier.extend(leaves[(frontier.size - start) * WIDTH :])
        return frontier, nodes, roots

    def _take(self, frontier: Frontier, nodes: bytes, roots: dict[int, bytes]) -> None:
        self._frontier = frontier
        self._nodes += nodes
        self._roots |= roots
