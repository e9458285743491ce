"""What agents say and hear: the bodies of their commands and the shapes of the answers."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from api.bodies import LARGEST_INTEGER, Body, Id, Long, Name, PrintableName, Word
from api.shapes import Task
from api.wire import time_from
from controller import exchange
from domain.agent import AgentRegistered
from domain.refused import Invalid

MOST_HELD = 10_000
LONGEST_WAIT = 30.0  # seconds

SESSION = "5e" * 16
HELD: dict[str, Any] = {"task_id": "0123456789abcdef0123456789abcdef", "attempt": 1}
REPORT: dict[str, Any] = {**HELD, "status": "completed", "exit_code": 0, "began_at": "2026-11-22T15:31:00.123456Z"}

Number = Annotated[int, Field(ge=1, le=LARGEST_INTEGER)]
Session = Annotated[Id, Field(description="32 hex digits, new for each process of the agent.")]


class RegisterAgent(Body):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"name": "node1", "session": SESSION, "queues": ["default"], "slots": 2, "host": "node1", "pid": 4711}
            ]
        }
    )

    name: PrintableName
    session: Session
    queues: Annotated[list[Name], Field(min_length=1, max_length=1_000)] = Field(
        description="In the order in which work is taken from them."
    )
    slots: int = Field(1, ge=1, le=MOST_HELD)
    services: bool = Field(False, description="Whether it runs many light tasks at once.")
    host: Word = ""
    pid: int | None = Field(None, ge=0, le=LARGEST_INTEGER)
    version: Word = Field("", description="The agent's own.")

    def registered(self) -> AgentRegistered:
        return AgentRegistered(
            name=self.name,
            session=self.session,
            queues=self.queues,
            slots=self.slots,
            services=self.services,
            host=self.host,
            pid=self.pid,
            agent_version=self.version,
        )


class Held(Body):
    task_id: Id
    attempt: Number

    def held(self) -> exchange.Held:
        return exchange.Held(self.task_id, self.attempt)


class Report(Held):
    status: Literal["completed", "failed", "stopped"]
    reason: Long = ""
    exit_code: int | None = Field(None, ge=-LARGEST_INTEGER, le=LARGEST_INTEGER)
    began_at: str | None = Field(None, description="When the user's code began.")

    def report(self, where: str) -> exchange.Report:
        """Raises Invalid, `where` it is."""
        try:
            began_at = None if self.began_at is None else time_from(self.began_at)
        except Invalid as wrong:
            raise Invalid(str(wrong), f"{where}/began_at") from None
        return exchange.Report(
            task_id=self.task_id,
            attempt=self.attempt,
            status=self.status,
            reason=self.reason,
            exit_code=self.exit_code,
            began_at=began_at,
        )


class _InSession(Body):
    session: Session


class Beat(_InSession):
    model_config = ConfigDict(json_schema_extra={"examples": [{"session": SESSION, "held": [HELD]}]})

    held: Annotated[list[Held], Field(max_length=MOST_HELD)] = Field([], description="All attempts that it runs.")


class Leave(_InSession):
    model_config = ConfigDict(json_schema_extra={"examples": [{"session": SESSION, "reports": [REPORT]}]})

    reports: Annotated[list[Report], Field(max_length=MOST_HELD)] = Field([], description="Attempts that have ended.")

    def reported(self) -> list[exchange.Report]:
        """Raises Invalid."""
        return [one.report(f"reports/{number}") for number, one in enumerate(self.reports)]


class Exchange(Beat, Leave):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"session": SESSION, "held": [], "reports": [REPORT], "free": 2, "wait": 20.0}]}
    )

    free: int = Field(0, ge=0, le=MOST_HELD, description="How many attempts it can take.")
    wait: float = Field(0.0, ge=0, le=LONGEST_WAIT, description="Seconds to wait for something to do.")


class Registered(BaseModel):
    id: str
    session: str
    lease: float = Field(description="Seconds that it may be silent before it counts as lost.")
    heartbeat: float = Field(description="Seconds between heartbeats that keep it well within its lease.")


class Agent(BaseModel):
    id: str
    name: str
    status: Literal["online", "lost", "left"]
    reason: str
    queues: list[str]
    slots: int
    services: bool
    host: str
    version: str = Field(description="The agent's own.")
    session: str
    running: int = Field(description="How many attempts it holds.")
    registered_at: str
    last_seen_at: str


class Claim(BaseModel):
    task_id: str
    attempt: int
    queue: str | None
    run_id: str | None
    step: str | None
    lease: float
    task: Task


class Stop(BaseModel):
    task_id: str
    attempt: int
    reason: str
    lost: bool = Field(description="The attempt is not the agent's any more: nothing is to be reported.")


class Receipt(BaseModel):
    task_id: str
    attempt: int
    accepted: bool
    reason: str = Field(description="Why it came too late.")


class Stops(BaseModel):
    stop: list[Stop]


class Receipts(BaseModel):
    reports: list[Receipt]


class Exchanged(Stops, Receipts):
    claims: list[Claim]
