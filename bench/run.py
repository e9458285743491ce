"""Measures the product on this machine, one line of JSON for each case: `make bench`, or `python -m bench.run CASE`."""

import argparse
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from bench.cases import CASES
from bench.peer import Peers, installed_peers
from bench.setting import POSTGRESQL, SQLITE, Setting, setting_in


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the cases that are asked for; 1 when one of them failed."""
    parser = _parser()
    asked = parser.parse_args(arguments)
    chosen = asked.cases or list(CASES)
    if unknown := [case for case in chosen if case not in CASES]:
        parser.error(f"there is no case {unknown[0]!r}: choose from {', '.join(CASES)}")
    databases = [asked.database] if asked.database else (SQLITE, POSTGRESQL)
    peers = Peers() if asked.no_peers else installed_peers()
    with setting_in(asked.folder, databases=databases, quick=asked.quick, n=asked.n, peers=peers) as setting:
        return max(_measured(case, setting) for case in chosen)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make bench ARGS=…", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}; all by default")
    parser.add_argument("--quick", action="store_true", help="small sizes, once: to see that the cases work")
    parser.add_argument("-n", type=int, metavar="N", help="the size of each chosen case, in its own unit")
    parser.add_argument("--database", choices=(SQLITE, POSTGRESQL), help="only this one")
    parser.add_argument("--no-peers", action="store_true", help="leave the peers out")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="where the files lie, which are deleted at the end")
    return parser


def _measured(case: str, setting: Setting) -> int:
    """Print the lines of one case as they come. One that fails is told, and keeps no other from being measured."""
    try:
        for line in CASES[case](setting):
            print(line, flush=True)
    except Exception:
        print(f"bench: case {case} failed", file=sys.stderr)
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    # Ended from outside it still ends its servers and takes its files away.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
