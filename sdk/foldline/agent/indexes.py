"""Where packages come from: uv is told what the machine's pip is configured to, unless it has a word of its own."""

import configparser
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

# pip's name of a setting, the variable that says it to uv, and those that say it already.
SETTINGS: Final = (
    ("index-url", "UV_INDEX_URL", ("UV_INDEX_URL", "UV_DEFAULT_INDEX")),
    ("extra-index-url", "UV_EXTRA_INDEX_URL", ("UV_EXTRA_INDEX_URL", "UV_INDEX")),
    ("find-links", "UV_FIND_LINKS", ("UV_FIND_LINKS",)),
    ("trusted-host", "UV_INSECURE_HOST", ("UV_INSECURE_HOST",)),
    ("cert", "SSL_CERT_FILE", ("SSL_CERT_FILE",)),
)


def settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Variables for uv. They may hold credentials: never to be printed, never on a command line."""
    configured = _configured(environment)
    found: dict[str, str] = {}
    for name, variable, taken in SETTINGS:
        if not any(environment.get(each) for each in taken) and (value := configured.get(name)):
            # pip lists one address a line, uv puts spaces between them; several links it wants with commas.
            found[variable] = ("," if name == "find-links" else " ").join(value.split())
    return found


def is_off(environment: Mapping[str, str]) -> bool:
    """Whether pip is told to ask no index at all."""
    return _configured(environment).get("no-index", "").lower() in ("1", "true", "yes", "on")


def _configured(environment: Mapping[str, str]) -> dict[str, str]:
    """What pip reads, later places over earlier ones: its files, then its variables."""
    found: dict[str, str] = {}
    for file in _files(environment):
        parser = configparser.RawConfigParser()
        try:
            parser.read(file, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError):
            continue  # pip itself says what is wrong with it
        for section in ("global", "install"):
            if parser.has_section(section):
                found |= dict(parser.items(section))
    names = [name for name, _, _ in SETTINGS] + ["no-index"]
    said = {name: environment.get(f"PIP_{name.upper().replace('-', '_')}", "") for name in names}
    return found | {name: value for name, value in said.items() if value}


def _files(environment: Mapping[str, str]) -> Iterator[Path]:
    if (chosen := environment.get("PIP_CONFIG_FILE")) == os.devnull:
        return
    home = Path(environment.get("HOME") or Path.home())
    for folder in environment.get("XDG_CONFIG_DIRS", "/etc/xdg").split(os.pathsep):
        yield Path(folder, "pip", "pip.conf")
    yield Path("/etc/pip.conf")
    yield home / ".pip" / "pip.conf"
    yield Path(environment.get("XDG_CONFIG_HOME") or home / ".config", "pip", "pip.conf")
    yield Path(sys.prefix, "pip.conf")
    if chosen:
        yield Path(chosen)
