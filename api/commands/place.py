"""Where the server's things are, as the flags and the environment say."""

from argparse import Namespace

from api.settings import Settings


def settings_of(asked: Namespace) -> Settings:
    """Raises ValidationError for a setting of the environment that makes no sense."""
    given = {name: getattr(asked, name, None) for name in ("db", "data", "host", "port")}
    return Settings(**{name: value for name, value in given.items() if value is not None})
