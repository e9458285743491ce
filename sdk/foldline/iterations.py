"""Where the iterations of a continued task begin: what its reports add to the numbers that the script counts."""

_offsets: dict[str, int] = {}


def offset_of(task_id: str) -> int:
    return _offsets.get(task_id, 0)


def set_offset(task_id: str, offset: int) -> None:
    _offsets[task_id] = offset
