"""An argument of a function step that is put together from several results, in the section `kwargs_artifacts`.

Written down, each part is one of
- a text, `"<task id>.<name>"`: a result, as where the whole argument is one;
- `{"value": …}`: JSON that stays what it is;
- `{"list": [parts]}`, `{"tuple": [parts]}`, `{"dict": [[key, part], …]}`;
- `{"object": text, "fields": {name: part}}`: a dataclass, stored without those fields.

No plain text of the user's stands outside a `value`, so none can be taken for a result.
"""

import copy
import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from foldline.errors import FoldlineError
from foldline.formats import LONGEST_PARAMETER, is_exact_json, plain

Part = str | dict[str, Any]

# What references begin with, wherever the server resolves them.
MARK: Final = "${"


def put_together(part: Any, fetch: Callable[[str], Any]) -> Any:
    """The argument, whose results `fetch` gets. Raises FoldlineError for what no pipeline has written."""
    if isinstance(part, str):
        return fetch(part)
    if isinstance(part, dict):
        said = cast(dict[str, Any], part)
        match said:
            case {"value": value}:
                return value
            case {"list": parts}:
                return [put_together(one, fetch) for one in parts]
            case {"tuple": parts}:
                return tuple(put_together(one, fetch) for one in parts)
            case {"dict": pairs}:
                return {key: put_together(one, fetch) for key, one in pairs}
            case {"object": text, "fields": fields}:
                return _with_fields(fetch(text), fields, fetch)
            case _:
                pass
    raise FoldlineError(f"{part!r} is no argument made of results: see 'Function steps' in the documentation")


def taken_apart(value: Any, refer: Callable[[Any], Part | None], keep: Callable[[Any], str]) -> Part:
    """`value` written down. `refer` says how a result is (None for what is none), `keep` stores what JSON cannot hold.

    Both give texts; that of `keep` names where the object is.
    """
    referred = refer(value)
    if referred is not None:
        return referred
    kind = cast(type[Any], type(value))
    if not holds(value, lambda one: refer(one) is not None):
        return {"value": value} if _stays_itself(value) else keep(value)
    if kind in (list, tuple):
        return {kind.__name__: [taken_apart(one, refer, keep) for one in value]}
    if kind is dict:
        pairs = cast(dict[Any, Any], value).items()
        return {"dict": [[key, taken_apart(one, refer, keep)] for key, one in pairs]}
    fields = {
        name: taken_apart(one, refer, keep)
        for name, one in fields_of(value).items()
        if holds(one, lambda inner: refer(inner) is not None)
    }
    shell = copy.copy(value)
    for name in fields:
        object.__setattr__(shell, name, None)
    return {"object": keep(shell), "fields": fields}


def holds(value: Any, wanted: Callable[[Any], bool]) -> bool:
    """Whether `value` is what is wanted, or has it inside lists, tuples, dicts with plain keys, or dataclasses."""
    if wanted(value):
        return True
    kind = cast(type[Any], type(value))
    if kind in (list, tuple):
        return any(holds(one, wanted) for one in cast(list[Any], value))
    if kind is dict:
        pairs = cast(dict[Any, Any], value)
        return all(map(_is_key, pairs)) and any(holds(one, wanted) for one in pairs.values())
    return any(holds(one, wanted) for one in fields_of(value).values())


def fields_of(value: Any) -> dict[str, Any]:
    """A dataclass's fields as they are; nothing of anything else."""
    if not hasattr(cast(Any, type(value)), "__dataclass_fields__"):
        return {}
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if hasattr(value, field.name)}


def _with_fields(shell: Any, fields: Mapping[str, Any], fetch: Callable[[str], Any]) -> Any:
    for name, part in fields.items():
        object.__setattr__(shell, name, put_together(part, fetch))
    return shell


def _is_key(key: Any) -> bool:
    return type(key) in (int, bool) or key is None or (type(key) is str and MARK not in key)


def _stays_itself(value: Any) -> bool:
    """Whether it may travel in the step's definition, where a text with a reference in it would be resolved."""
    # An integer of more than 64 bits would come back as text.
    if not is_exact_json(value) or plain(value) != value:
        return False
    text = json.dumps(value, ensure_ascii=False)
    return len(text) <= LONGEST_PARAMETER and MARK not in text
