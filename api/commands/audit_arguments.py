"""What `foldline-server audit` takes. Apart from the command itself, so that help and mistakes need nothing of it."""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

WRONG = 3  # the exit code of a log that is not as it was signed

Add = Callable[..., argparse.ArgumentParser]


def add(commands: Any, command: Add, add_place: Callable[[argparse.ArgumentParser], None]) -> None:
    """`commands` is what `add_subparsers` returns; `command` makes a parser in it, `add_place` adds --db and --data."""
    does = "prove that nobody has rewritten the log: check it, and give out what others need to check it"
    audit = command(commands, "audit", does)
    parts = audit.add_subparsers(required=True, metavar="COMMAND", dest="part")

    part = partial(command, parts, module="audit")
    verify = part("verify", "check every event, checkpoint and signature")
    verify.epilog = f"{verify.epilog}; {WRONG} the log is not as it was signed, and each thing that is wrong is named"
    verify.add_argument(
        "--checkpoint",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="a checkpoint that was kept elsewhere: the log must still begin as it says; may be given several times",
    )
    verify.add_argument("--keys", type=Path, metavar="FILE", help="trust only these keys, printed by `audit keys`")
    verify.add_argument("--json", action="store_true", help="say it as one JSON object")

    command(
        parts, "checkpoint", "sign what is not signed yet, and print the checkpoint: keep it elsewhere", module="audit"
    )

    proof = command(
        parts, "proof", "print a proof as JSON, which anybody can check without this server", module="audit"
    )
    what = proof.add_mutually_exclusive_group(required=True)
    what.add_argument("event", nargs="?", metavar="EVENT", help="that this event is signed: a position, or RUN@VERSION")
    what.add_argument("--from", metavar="CHECKPOINT", dest="first", help="that the log goes on from this checkpoint")
    proof.add_argument("--to", metavar="CHECKPOINT", help="in, or to, this checkpoint; default: the newest")
    proof.description = f"{proof.description} A CHECKPOINT is a file that holds one, or its size."

    keys = part("keys", "print the public keys that have signed checkpoints")
    keys.add_argument("--rotate", action="store_true", help="and put a new key in the place of the one that signs")

    for parser in (verify, proof, keys, parts.choices["checkpoint"]):
        add_place(parser)
