"""The tree of RFC 6962 over hashed leaves: its root, proofs that an event is in it and that it only grew, their checks.

A leaf is given as its hash, SHA-256(0x00 || data), see leaf.py; a node is SHA-256(0x01 || left || right). Many hashes
at once are one `bytes`, 32 after 32: a list of a million objects would cost more than the hashing. Pure.
"""

from collections.abc import Callable, Sequence
from hashlib import sha256

WIDTH = 32  # bytes of a hash
EMPTY = sha256(b"").digest()  # the root of a tree without leaves

Span = Callable[[int, int], bytes]
"""The root over the leaves from index `begin` up to, not including, `end`."""


def node(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


# Begun once: beginning a hash costs more than going on with a copy of it.
_BEGUN = sha256(b"\x01")


def _nodes(hashes: bytes, end: int) -> bytes:
    """The nodes over the pairs up to `end`. A pair lies in one piece, so that one slice takes it."""
    nodes: list[bytes] = []
    for at in range(0, end, 2 * WIDTH):
        node = _BEGUN.copy()
        node.update(hashes[at : at + 2 * WIDTH])
        nodes.append(node.digest())
    return b"".join(nodes)


def hash_at(hashes: bytes, index: int) -> bytes:
    return hashes[index * WIDTH : (index + 1) * WIDTH]


def root_of(leaves: bytes) -> bytes:
    frontier = Frontier()
    frontier.extend(leaves)
    return frontier.root()


class Frontier:
    """A tree that grows, in O(log n) memory: the roots of the full subtrees that it consists of."""

    def __init__(self, keep: int = 0) -> None:
        """`extend` returns the roots of the full subtrees of 2**keep leaves."""
        self.size = 0
        self._keep = keep
        self._odd: list[bytes] = []  # by level: the subtree that waits for its right neighbour, or nothing

    def copy(self) -> "Frontier":
        other = Frontier(self._keep)
        other.size, other._odd = self.size, list(self._odd)
        return other

    def extend(self, hashes: bytes, *, level: int = 0) -> bytes:
        """Add leaves, or roots of full subtrees of 2**level leaves. Returns the roots to keep that this completed.

        Raises ValueError when subtrees are added to a tree that does not end at the border of one.
        """
        if len(hashes) % WIDTH or self.size % (1 << level):
            raise ValueError(f"cannot add {len(hashes)} bytes of level {level} to a tree of {self.size}")
        self.size += len(hashes) // WIDTH << level
        kept = b""
        while hashes:
            if level == self._keep:
                kept = hashes
            while len(self._odd) <= level:
                self._odd.append(b"")
            hashes = self._odd[level] + hashes
            even = len(hashes) // (2 * WIDTH) * 2 * WIDTH
            self._odd[level] = hashes[even:]
            hashes = _nodes(hashes, even)
            level += 1
        return kept

    def root(self) -> bytes:
        root = b""
        for subtree in self._odd:
            if subtree:
                root = node(subtree, root) if root else subtree
        return root or EMPTY


def inclusion_path(index: int, size: int, span: Span) -> list[bytes]:
    """The siblings, lowest first, on the way from the leaf at `index` (0, 1 ...) to the root of the first `size`."""
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} has no leaf {index}")
    path: list[bytes] = []
    begin, end = 0, size
    while end - begin > 1:
        middle = begin + _split(end - begin)
        if index < middle:
            path.append(span(middle, end))
            end = middle
        else:
            path.append(span(begin, middle))
            begin = middle
    return path[::-1]


def consistency_path(first: int, second: int, span: Span) -> list[bytes]:
    """What shows that the tree of `second` leaves begins with that of `first`, 1 or more."""
    if not 0 < first <= second:
        raise ValueError(f"a tree of {second} has no beginning of {first}")
    path: list[bytes] = []
    begin, end = 0, second
    while first != end:
        middle = begin + _split(end - begin)
        if first <= middle:
            path.append(span(middle, end))
            end = middle
        else:
            path.append(span(begin, middle))
            begin = middle
    # The first tree itself is known to who asks; a subtree in which it ends is not.
    if begin:
        path.append(span(begin, end))
    return path[::-1]


def is_included(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Whether `path` leads from this leaf to `root` (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    number, last, found = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            return False
        if number % 2 or number == last:
            found = node(sibling, found)
            while not number % 2 and number:
                number, last = number >> 1, last >> 1
        else:
            found = node(found, sibling)
        number, last = number >> 1, last >> 1
    return last == 0 and found == root


def is_consistent(first: int, first_root: bytes, second: int, second_root: bytes, path: Sequence[bytes]) -> bool:
    """Whether `path` shows that the second tree begins with the first (RFC 9162, 2.1.4.2)."""
    if first == second:
        return not path and first_root == second_root
    if not 0 < first < second or not path:
        return False
    hashes = [first_root, *path] if first & (first - 1) == 0 else list(path)
    number, last = first - 1, second - 1
    while number % 2:
        number, last = number >> 1, last >> 1
    old = new = hashes[0]
    for sibling in hashes[1:]:
        if last == 0:
            return False
        if number % 2 or number == last:
            old, new = node(sibling, old), node(sibling, new)
            while not number % 2 and number:
                number, last = number >> 1, last >> 1
        else:
            new = node(new, sibling)
        number, last = number >> 1, last >> 1
    return last == 0 and old == first_root and new == second_root


def _split(count: int) -> int:
    """The largest power of two below `count`, which is 2 or more."""
    return 1 << (count - 1).bit_length() - 1
