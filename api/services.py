"""All parts of a server, made once and handed to the routes."""

import secrets
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from api.health import Health
from api.settings import Settings
from api.tokens import Tokens
from controller.exchange import Exchange
from controller.handle import By, Controller
from controller.loop import Loop
from controller.reading import Reader
from controller.snapshots import Keeper
from eventstore.audit.keys import Keyring
from eventstore.audit.sealer import Sealer
from eventstore.blobs import Blobs
from eventstore.logs import FileLogs, Logs, TableLogs
from eventstore.plots import Plots
from eventstore.scalars import Scalars
from eventstore.snapshots import Snapshots
from eventstore.sql import SqlStore, open_store
from projections.runner import Runner

QUEUES = ("default", "services")


@dataclass(frozen=True)
class Services:
    settings: Settings
    store: SqlStore
    controller: Controller
    exchange: Exchange
    reader: Reader
    projections: Runner
    loop: Loop
    logs: Logs
    scalars: Scalars
    plots: Plots
    blobs: Blobs
    tokens: Tokens
    admin_key: str = field(repr=False)
    """What commands on this machine show to act through this server: lies in the data folder, mode 0600."""
    closing: threading.Event
    health: Health
    sealer: Sealer
    keeper: Keeper

    def start(self) -> None:
        for name in QUEUES:
            self.controller.create_queue(name, By(actor="server"))
        self.projections.start()
        self.loop.start()
        self.sealer.start()
        self.keeper.start()

    def close(self) -> None:
        self.closing.set()
        self.loop.stop()
        self.projections.stop()
        self.sealer.stop()
        self.keeper.stop()
        self.store.close()


def open_services(settings: Settings) -> Services:
    """Open the store and wire everything to it; nothing runs before `start`. Raises eventstore.errors.CannotOpen."""
    settings.data.mkdir(parents=True, exist_ok=True)
    store = open_store(settings.url, owner=settings.address)
    keeper = Keeper(Snapshots(store.database))
    controller = Controller(store, lease=settings.lease, keeper=keeper)
    shared = store.database.shared
    closing = threading.Event()
    return Services(
        settings=settings,
        store=store,
        controller=controller,
        exchange=Exchange(controller),
        reader=Reader(store, keeper),
        projections=Runner(store),
        loop=Loop(controller),
        logs=TableLogs(store.database) if shared else FileLogs(settings.data / "logs"),
        scalars=Scalars(store.database),
        plots=Plots(store.database),
        blobs=Blobs(settings.data / "blobs", most_bytes=settings.most_artifact_bytes),
        tokens=Tokens(store.database, clock=time.monotonic),
        admin_key=admin_key(settings.data),
        closing=closing,
        health=Health(store, closing),
        sealer=Sealer(store, keyring(settings)),
        keeper=keeper,
    )


def keyring(settings: Settings, *, make: bool = True) -> Keyring:
    """The key that signs the log. Without `make` none is made where there is none."""
    return Keyring(settings.data / "audit.key", settings.audit_key.get_secret_value(), make=make)


def admin_key(data: Path) -> str:
    """The key of this data folder, made when there is none."""
    path = data / "admin.key"
    if not path.exists():
        fresh = path.with_suffix(".new")
        fresh.touch(mode=0o600)
        fresh.write_text(secrets.token_hex(32))
        fresh.rename(path)
    return path.read_text().strip()
