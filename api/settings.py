"""What a server is told at its start: flags, else the environment (FOLDLINE_SERVER_...), else these defaults."""

from ipaddress import ip_address
from pathlib import Path

from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import make_url

from eventstore.sql import address_of


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="FOLDLINE_SERVER_", extra="forbid")

    db: str = ""
    data: Path = Path.home() / ".foldline" / "server"
    host: str = "127.0.0.1"
    port: int = 8420
    lease: float = 10.0
    """Seconds an agent may be silent before it counts as lost."""
    most_json_bytes: int = 64 * 1024 * 1024
    """The largest JSON body."""
    most_artifact_bytes: int = 20 * 1024 * 1024 * 1024
    """The largest artifact."""
    most_log_bytes: int = 1024 * 1024
    """The largest piece of a log in one request."""

    audit_key: SecretStr = SecretStr("")
    """What signs the log: a PEM, base64, or the path of a file with either; else `audit.key` in the data folder."""

    @property
    def url(self) -> str:
        """The database's address."""
        return self.db or address_of((self.data / "foldline.db").absolute())

    @property
    def sqlite_path(self) -> Path | None:
        """The database's file; None when it is not one on this machine."""
        url = make_url(self.url)
        return Path(url.database) if url.drivername == "sqlite" and url.database else None

    @property
    def address(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether this name or address is that of the machine itself, and of no other."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
