"""The dict that connect() gives back: what is written into it later is on the task, too."""

from collections.abc import Callable
from typing import Any, cast


class Connected(dict[Any, Any]):
    """A dict, with dicts of the same kind inside; `changed` is called with the outermost after each change."""

    def __init__(self, values: dict[Any, Any], changed: Callable[[dict[Any, Any]], None]) -> None:
        super().__init__()
        self._changed: Callable[[], None] = lambda: None
        for key, value in values.items():
            super().__setitem__(key, self._inner(value))
        self._changed = lambda: changed(self)

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, self._inner(value))
        self._changed()

    def __delitem__(self, key: Any) -> None:
        super().__delitem__(key)
        self._changed()

    def __ior__(self, other: Any) -> "Connected":
        self.update(other)
        return self

    def __reduce__(self) -> Any:
        # A copy, and what is stored of it, is the user's own dict again.
        return dict, (plain_dict(self),)

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[Any, Any]:
        import copy

        return copy.deepcopy(plain_dict(self), memo)

    def copy(self) -> dict[Any, Any]:
        return plain_dict(self)

    def update(self, *args: Any, **kwargs: Any) -> None:
        for key, value in dict(*args, **kwargs).items():
            super().__setitem__(key, self._inner(value))
        self._changed()

    def setdefault(self, key: Any, default: Any = None) -> Any:
        if key not in self:
            self[key] = default
        return self[key]

    def pop(self, key: Any, *default: Any) -> Any:
        found = super().pop(key, *default)
        self._changed()
        return found

    def popitem(self) -> tuple[Any, Any]:
        found = super().popitem()
        self._changed()
        return found

    def clear(self) -> None:
        super().clear()
        self._changed()

    def _inner(self, value: Any) -> Any:
        if type(value) is not dict:
            return value
        return Connected(cast(dict[Any, Any], value), lambda _: self._changed())


def plain_dict(value: dict[Any, Any]) -> dict[Any, Any]:
    """`value` as a plain dict, inner ones too."""
    return {
        key: plain_dict(cast(dict[Any, Any], inner)) if isinstance(inner, Connected) else inner
        for key, inner in value.items()
    }
