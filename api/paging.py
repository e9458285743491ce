"""How lists are asked for, and how they are answered."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Query
from pydantic import BaseModel, Field

from api.wire import time_text

T = TypeVar("T")

# As `Annotated[list[...], ANY_OF]`, without a default: none of them asks for all.
ANY_OF = Query(default_factory=list, description="Any of these; may be given several times.")
Limit = Annotated[int, Query(ge=1, le=500, description="How many items at most.")]
Cursor = Annotated[str | None, Query(max_length=2_000, description="The `next_cursor` of the list so far.")]


class Page(BaseModel, Generic[T]):
    items: list[T]
    next_cursor: str | None = Field(description="Where the list goes on; null at its end.")


def page(items: Sequence[Any], next_cursor: str | None = None) -> dict[str, Any]:
    return {"items": items, "next_cursor": next_cursor}


def with_times(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of a projection with its times as text."""
    return {name: time_text(value) if name.endswith("_at") else value for name, value in row.items()}
