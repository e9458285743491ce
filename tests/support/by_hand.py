"""What tests of the API do again and again: pipelines submitted, and an agent played by hand."""

from typing import Any
from uuid import uuid4

import httpx2

Json = dict[str, Any]


def answered(response: httpx2.Response, status: int = 200) -> Json:
    assert response.status_code == status, response.text
    return response.json()


def listed(client: httpx2.Client, kind: str, /, **params: Any) -> list[Json]:
    """The first page of a list that has seen everything there is now."""
    head = answered(client.get("/api/v1/projections"))["items"][0]["head"]
    return answered(client.get(f"/api/v1/{kind}", params={"min_position": head, **params}))["items"]


def template(client: httpx2.Client, name: str = "stage data", **fields: Any) -> Json:
    return answered(client.post("/api/v1/tasks", json={"name": name, "project": "examples", **fields}), 201)


def step(name: str, *parents: str, **fields: Any) -> Json:
    """A step with its template inline."""
    return {"name": name, "task": {"script": {"entry_point": f"{name}.py"}}, "parents": list(parents), **fields}


def definition(*steps: Json, **fields: Any) -> Json:
    return {"name": "iris", "project": "examples", "default_queue": "default", "steps": list(steps), **fields}


def submitted(client: httpx2.Client, *steps: Json, run: Json | None = None, **fields: Any) -> Json:
    """A run of these steps, one called `only` when there are none; `fields` are the definition's, `run` its own."""
    body = {"definition": definition(*(steps or (step("only"),)), **fields), **(run or {})}
    return answered(client.post("/api/v1/runs", json=body), 201)


def steps_of(client: httpx2.Client, run: Json, **params: Any) -> dict[str, Json]:
    found = answered(client.get(f"/api/v1/runs/{run['id']}/steps", params=params))
    return {one["name"]: one for one in found["items"]}


class Agent:
    """An agent without a program: it says what it is told to say, and remembers what it holds."""

    def __init__(self, client: httpx2.Client, *queues: str, name: str = "node1", slots: int = 4) -> None:
        self.client, self.name, self.queues, self.slots = client, name, list(queues or ("default",)), slots
        self.held: dict[str, Json] = {}
        self.register()

    def register(self) -> None:
        """Begin a new session."""
        self.session = uuid4().hex
        body = {"name": self.name, "session": self.session, "queues": self.queues, "slots": self.slots}
        self.id = answered(self.client.post("/api/v1/agents", json=body), 201)["id"]

    def says(self, what: str, **body: Any) -> httpx2.Response:
        return self.client.post(f"/api/v1/agents/{self.id}/{what}", json={"session": self.session, **body})

    def naming(self) -> list[Json]:
        return [{"task_id": task_id, "attempt": claim["attempt"]} for task_id, claim in self.held.items()]

    def exchange(self, **body: Any) -> Json:
        usual = {"held": self.naming(), "free": self.slots - len(self.held), "wait": 0}
        found = answered(self.says("exchange", **{**usual, **body}))
        self.held |= {claim["task_id"]: claim for claim in found["claims"]}
        return found

    def claims(self) -> dict[str, Json]:
        """What it gets to do now, by step or name."""
        return {claim["step"] or claim["task"]["name"]: claim for claim in self.exchange()["claims"]}

    def report(self, claim: Json, status: str = "completed", **fields: Any) -> Json:
        return {"task_id": claim["task_id"], "attempt": claim["attempt"], "status": status, **fields}

    def ends(self, claim: Json, status: str = "completed", **fields: Any) -> dict[str, Json]:
        """Report that it has ended; what it gets to do next."""
        self.held.pop(claim["task_id"], None)
        found = self.exchange(reports=[self.report(claim, status, **fields)])
        assert all(receipt["accepted"] for receipt in found["reports"]), found["reports"]
        return {one["step"] or one["task"]["name"]: one for one in found["claims"]}

    def works(self) -> list[str]:
        """Do all there is to do, all of it with success; the steps in the order they were done."""
        done: list[str] = []
        ready = self.claims()
        while ready:
            name, claim = ready.popitem()
            done.append(name)
            ready |= self.ends(claim)
        return done
