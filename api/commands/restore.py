"""`foldline-server restore`: a backup put back, where nothing is."""

from argparse import Namespace

from api.backup_restore import restore
from api.commands.failures import Failed
from api.commands.place import settings_of
from api.findings import size


def run(asked: Namespace) -> int:
    settings = settings_of(asked)
    manifest, copied = restore(settings, asked.source)
    print(f"{manifest.events:,} events, {copied.blobs:,} artifacts, {copied.logs:,} logs, {size(copied.bytes)}: as of")
    print(f"{manifest.made_at}. Every event has the hash of what it says; the projections are made anew.")
    if damaged := set(copied.damaged) - set(manifest.damaged):
        raise Failed(f"all is put back, but these artifacts were damaged in the backup: {', '.join(sorted(damaged))}")
    return 0
