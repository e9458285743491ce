"""Tasks by HTTP, for the tests of the API."""

from typing import Any

import httpx2

TASKS = "/api/v1/tasks"
SESSION = "5e" * 16


def made(client: httpx2.Client, **fields: Any) -> dict[str, Any]:
    """A new task."""
    answer = client.post(TASKS, json={"name": "train", "project": "iris", **fields})
    assert answer.status_code == 201, answer.text
    return answer.json()


def told(client: httpx2.Client, task: dict[str, Any], what: str, **body: Any) -> dict[str, Any]:
    """What a command to the task answers."""
    answer = client.post(f"{TASKS}/{task['id']}/{what}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def edited(client: httpx2.Client, task: dict[str, Any], **fields: Any) -> dict[str, Any]:
    answer = client.patch(f"{TASKS}/{task['id']}", json=fields)
    assert answer.status_code == 200, answer.text
    return answer.json()


def started(client: httpx2.Client, **fields: Any) -> dict[str, Any]:
    """A new task that this process runs."""
    return told(client, made(client, **fields), "start", session=SESSION, host="here")["task"]
