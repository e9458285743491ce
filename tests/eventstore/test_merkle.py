"""The tree against its definition in RFC 6962, written down naively, and against the published test vectors."""

from collections.abc import Sequence
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore.merkle import (
    EMPTY,
    WIDTH,
    Frontier,
    consistency_path,
    hash_at,
    inclusion_path,
    is_consistent,
    is_included,
    root_of,
)

MOST = 70

# Test vectors of Certificate Transparency: the data of eight leaves, and the roots of the trees of 1 to 8 of them.
DATA = [
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
]  # fmt: skip
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def hashed(data: bytes) -> bytes:
    return sha256(b"\x00" + data).digest()


def some_leaves(count: int) -> list[bytes]:
    return [hashed(number.to_bytes(4, "big")) for number in range(count)]


LEAVES = some_leaves(MOST)


def split(count: int) -> int:
    power = 1
    while power * 2 < count:
        power *= 2
    return power


def naive_root(leaves: Sequence[bytes]) -> bytes:
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = split(len(leaves))
    return sha256(b"\x01" + naive_root(leaves[:k]) + naive_root(leaves[k:])).digest()


def naive_path(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    if index < k:
        return [*naive_path(index, leaves[:k]), naive_root(leaves[k:])]
    return [*naive_path(index - k, leaves[k:]), naive_root(leaves[:k])]


def naive_subproof(first: int, leaves: Sequence[bytes], whole: bool) -> list[bytes]:
    if first == len(leaves):
        return [] if whole else [naive_root(leaves)]
    k = split(len(leaves))
    if first <= k:
        return [*naive_subproof(first, leaves[:k], whole), naive_root(leaves[k:])]
    return [*naive_subproof(first - k, leaves[k:], False), naive_root(leaves[:k])]


def span(begin: int, end: int) -> bytes:
    return root_of(b"".join(LEAVES[begin:end]))


def test_the_roots_are_those_of_certificate_transparency():
    leaves = b"".join(hashed(bytes.fromhex(data)) for data in DATA)
    assert [root_of(leaves[: size * WIDTH]).hex() for size in range(1, 9)] == ROOTS
    assert root_of(b"") == EMPTY


@given(st.lists(st.integers(0, 9), max_size=20))
def test_a_tree_that_grows_in_pieces_has_the_root_of_the_definition(pieces: list[int]):
    frontier, added = Frontier(), 0
    for count in pieces:
        some = LEAVES[added : added + count]
        frontier.extend(b"".join(some))
        added += len(some)
        assert (frontier.size, frontier.root()) == (added, naive_root(LEAVES[:added]))


@given(st.lists(st.integers(0, 40), max_size=12), st.integers(0, 4))
def test_it_tells_the_full_subtrees_that_were_completed(pieces: list[int], level: int):
    frontier, added, kept = Frontier(keep=level), 0, b""
    for count in pieces:
        some = LEAVES[added : added + count]
        kept += frontier.extend(b"".join(some))
        added += len(some)
    width = 1 << level
    full = [naive_root(LEAVES[at : at + width]) for at in range(0, added - width + 1, width)]
    assert kept == b"".join(full)


@given(st.integers(0, MOST), st.integers(0, 4))
def test_a_tree_made_of_subtrees_is_that_of_their_leaves(size: int, level: int):
    width = 1 << level
    whole = size // width * width
    frontier = Frontier()
    frontier.extend(b"".join(naive_root(LEAVES[at : at + width]) for at in range(0, whole, width)), level=level)
    frontier.extend(b"".join(LEAVES[whole:size]))
    assert (frontier.size, frontier.root()) == (size, naive_root(LEAVES[:size]))


def test_what_does_not_fit_is_refused():
    frontier = Frontier()
    frontier.extend(LEAVES[0])
    with pytest.raises(ValueError, match="level 1"):
        frontier.extend(LEAVES[1], level=1)
    with pytest.raises(ValueError, match="31 bytes"):
        frontier.extend(LEAVES[1][1:])
    assert frontier.root() == LEAVES[0]


def test_a_copy_grows_alone():
    frontier = Frontier()
    frontier.extend(LEAVES[0])
    frontier.copy().extend(LEAVES[1])
    assert (frontier.size, frontier.root()) == (1, LEAVES[0])


@given(st.data())
def test_an_inclusion_path_is_that_of_the_definition_and_holds_for_its_leaf_alone(data: st.DataObject):
    size = data.draw(st.integers(1, MOST))
    index = data.draw(st.integers(0, size - 1))
    path, root = inclusion_path(index, size, span), naive_root(LEAVES[:size])
    assert path == naive_path(index, LEAVES[:size])
    assert is_included(LEAVES[index], index, size, path, root)
    other = data.draw(st.integers(0, size - 1).filter(lambda at: at != index)) if size > 1 else size
    assert not is_included(LEAVES[index], other, size, path, root)
    assert not is_included(hashed(b"another"), index, size, path, root)
    assert not is_included(LEAVES[index], index, size, [*path, root], root)
    assert not is_included(LEAVES[index], index, size, path, hashed(b"another"))
    if path:
        assert not is_included(LEAVES[index], index, size, path[:-1], root)


@given(st.data())
def test_a_consistency_path_is_that_of_the_definition_and_holds_for_its_trees_alone(data: st.DataObject):
    second = data.draw(st.integers(1, MOST))
    first = data.draw(st.integers(1, second))
    old, new = naive_root(LEAVES[:first]), naive_root(LEAVES[:second])
    path = consistency_path(first, second, span)
    assert path == naive_subproof(first, LEAVES[:second], True)
    assert is_consistent(first, old, second, new, path)
    wrong = hashed(b"another")
    assert not is_consistent(first, wrong, second, new, path)
    assert not is_consistent(first, old, second, wrong, path)
    assert not is_consistent(first, old, second, new, [*path, wrong])
    for at in range(len(path)):
        assert not is_consistent(first, old, second, new, [*path[:at], wrong, *path[at + 1 :]])


@pytest.mark.parametrize(("index", "size"), [(3, 3), (-1, 3), (0, 0)])
def test_there_is_no_path_to_a_leaf_outside(index: int, size: int):
    with pytest.raises(ValueError, match="has no leaf"):
        inclusion_path(index, size, span)
    assert not is_included(LEAVES[0], index, size, [], LEAVES[0])


@pytest.mark.parametrize(("first", "second"), [(0, 3), (4, 3)])
def test_there_is_no_proof_of_a_beginning_that_is_none(first: int, second: int):
    with pytest.raises(ValueError, match="has no beginning"):
        consistency_path(first, second, span)
    assert not is_consistent(first, EMPTY, second, span(0, 3), [LEAVES[0]])


def test_a_hash_is_found_by_its_index():
    assert hash_at(b"".join(LEAVES), 5) == LEAVES[5]
