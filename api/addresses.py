"""Names in addresses, checked before anything is looked up: what is no id names nothing."""

import re
from typing import Annotated

from fastapi import Depends, Path

from domain.refused import Unknown

# Async, although nothing is waited for: the framework hands what is not to a thread, which takes longer than this.
_ID = re.compile(r"[0-9a-f]{32}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


async def _task_id(
    task_id: Annotated[str, Path(description="32 hex digits.", examples=["0123456789abcdef0123456789abcdef"])],
) -> str:
    if not _ID.fullmatch(task_id):
        raise Unknown(f"There is no task {task_id}: an id has 32 hex digits.")
    return task_id


async def _run_id(
    run_id: Annotated[str, Path(description="32 hex digits.", examples=["0123456789abcdef0123456789abcdef"])],
) -> str:
    if not _ID.fullmatch(run_id):
        raise Unknown(f"There is no run {run_id}: an id has 32 hex digits.")
    return run_id


async def _pipeline_id(
    pipeline_id: Annotated[str, Path(description="32 hex digits.", examples=["0123456789abcdef0123456789abcdef"])],
) -> str:
    if not _ID.fullmatch(pipeline_id):
        raise Unknown(f"There is no pipeline {pipeline_id}: an id has 32 hex digits.")
    return pipeline_id


async def _agent_id(
    agent_id: Annotated[str, Path(description="32 hex digits.", examples=["0123456789abcdef0123456789abcdef"])],
) -> str:
    if not _ID.fullmatch(agent_id):
        raise Unknown(f"There is no agent {agent_id}: an id has 32 hex digits.")
    return agent_id


async def _sha256(sha256: Annotated[str, Path(description="SHA-256, 64 hex digits.", examples=["0f" * 32])]) -> str:
    if not _SHA256.fullmatch(sha256):
        raise Unknown(f"There is no blob {sha256}: its name is its SHA-256, 64 hex digits.")
    return sha256


TaskId = Annotated[str, Depends(_task_id)]
RunId = Annotated[str, Depends(_run_id)]
PipelineId = Annotated[str, Depends(_pipeline_id)]
AgentId = Annotated[str, Depends(_agent_id)]
Sha256 = Annotated[str, Depends(_sha256)]
