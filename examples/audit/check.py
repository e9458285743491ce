"""Check a proof without Foldline: `python check.py PROOF KEY...`, the file of a proof and the keys that are trusted."""

import json
import sys
from base64 import b64decode
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def signed(note, keys):  # log, size and root of a checkpoint that one of the keys has signed
    text, _, signatures = note.partition("\n\n")
    for _, name, value in (line.split(" ") for line in signatures.splitlines()):
        for key in (key for key in keys if key.startswith(f"{name}+{b64decode(value)[:4].hex()}+")):
            public = Ed25519PublicKey.from_public_bytes(b64decode(key.split("+", 2)[2])[1:])
            public.verify(b64decode(value)[4:], f"{text}\n".encode())
            return text.split("\n")[0], int(text.split("\n")[1]), b64decode(text.split("\n")[2])
    sys.exit("wrong: none of these keys has signed the checkpoint")


def node(left, right):
    return sha256(b"\x01" + left + right).digest()


def included(begin, end, index, leaf, path):  # the root over the leaves `begin` to `end`, the outermost sibling last
    if end - begin == 1:
        return leaf
    middle, sibling = begin + (1 << (end - begin - 1).bit_length() - 1), path.pop()
    below = included(*((begin, middle) if index < middle else (middle, end)), index, leaf, path)
    return node(below, sibling) if index < middle else node(sibling, below)


def grown(begin, end, first, root, path):  # the roots over `begin` to `first`, and to `end`
    if first == end:
        return (path.pop(),) * 2 if begin else (root, root)
    middle, sibling = begin + (1 << (end - begin - 1).bit_length() - 1), path.pop()
    old, new = grown(*((begin, middle) if first <= middle else (middle, end)), first, root, path)
    return (old, node(new, sibling)) if first <= middle else (node(sibling, old), node(sibling, new))


proof, keys = json.loads(Path(sys.argv[1]).read_text()), sys.argv[2:]
path = [bytes.fromhex(sibling) for sibling in proof["path"]]
if proof["kind"] == "inclusion":
    (log, size, root), leaf = signed(proof["checkpoint"], keys), sha256(b"\x00" + proof["event"].encode()).digest()
    right, said = included(0, size, proof["index"], leaf, path) == root, f"among {size} events is {proof['event']}"
else:
    (log, first, old), (same, size, root) = signed(proof["first"], keys), signed(proof["second"], keys)
    right, said = log == same and grown(0, size, first, old, path) == (old, root), f"{size} events go on from {first}"
sys.exit("wrong: this proves nothing" if path or not right else print(f"{log}: {said}"))
