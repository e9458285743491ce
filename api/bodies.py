"""What may stand in the body of a command about a task, and what it means to the domain."""

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar, cast
from urllib.parse import parse_qsl, quote, urlsplit

from msgspec.structs import asdict, replace
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from api.asking import new_id
from domain import content, task
from domain.refused import Invalid

T = TypeVar("T")

LEASE = 60.0  # seconds that the caller's own process may be silent, unless it says otherwise
MOST_POINTS = 10_000  # in one request
MOST_SECONDS = 10.0**9  # since a point was made
LARGEST_INTEGER = 2**63 - 1  # what databases and most readers of JSON can hold
# Names in the query of an address that lets in whoever has it.
SIGNATURES = frozenset({"sig", "signature", "x-amz-signature", "x-goog-signature", "access_token"})
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def _storable(value: Any) -> Any:
    """`value` when each part of it comes back as it was: JSON as parsed here may hold more than JSON can say."""
    parts: list[Any] = [value]
    while parts:
        match part := parts.pop():
            case dict():
                entries = cast(dict[Any, Any], part)
                parts += [*entries.keys(), *entries.values()]
            case list():
                parts += cast(list[Any], part)
            case str() as text if not _is_unicode(text):
                raise ValueError("a text has half a surrogate pair, which is no character")
            case float() as number if not math.isfinite(number):
                raise ValueError("a number is not finite: say it as a text")
            case int() as number if not -LARGEST_INTEGER <= number <= LARGEST_INTEGER:
                raise ValueError("a whole number has more than 64 bits: say it as a text")
            case _:
                pass
    return value


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _without_secrets(address: str) -> str:
    """What is recorded is never erased, and everybody reads it."""
    try:
        parts = urlsplit(address)
        names = {name.lower() for name, _ in parse_qsl(parts.query, keep_blank_values=True)}
        secret = parts.password is not None or bool(names & SIGNATURES)
    except ValueError:  # an address of no known form, which some store may know
        secret = False
    if secret:
        raise ValueError("an address must not have a password or signature in it: it would be on record for ever")
    return address


def _printable(text: str) -> str:
    if _CONTROL.search(text):
        raise ValueError("it has a control character")
    return text


Id = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Text = Annotated[str, AfterValidator(_storable)]
Word = Annotated[Text, Field(max_length=500)]
Name = Annotated[Text, Field(min_length=1, max_length=500)]
Long = Annotated[Text, Field(max_length=100_000)]
Address = Annotated[Text, AfterValidator(_without_secrets)]
Tags = Annotated[list[Annotated[Text, Field(min_length=1, max_length=500)]], Field(max_length=1_000)]
Json = Annotated[Any, AfterValidator(_storable)]
JsonObject = Annotated[dict[str, Any], AfterValidator(_storable)]
PrintableName = Annotated[Text, Field(min_length=1, max_length=255), AfterValidator(_printable)]
TaskType = Literal[
    "training",
    "testing",
    "inference",
    "data_processing",
    "application",
    "monitor",
    "controller",
    "optimizer",
    "service",
    "qc",
    "custom",
    "report",
]

TaskStatus = Literal["created", "queued", "in_progress", "stopped", "failed", "completed", "published"]


def example(value: Any) -> ConfigDict:
    """The configuration of a body that is shown by `value`."""
    return ConfigDict(json_schema_extra={"examples": [value]})


class Body(BaseModel):
    """An unknown field is an error, and nothing is turned into another type, so that a typo never passes."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Parameter(Body):
    value: Json = None
    type: Word | None = None
    description: Long | None = None


class Configuration(Body):
    value: Text = ""
    type: Word | None = None
    description: Long | None = None


class Script(Body):
    repository: Text = ""
    branch: Text = ""
    commit: Text = ""
    tag: Text = ""
    entry_point: Text = ""
    working_dir: Text = "."
    diff: Text = ""
    binary: Text = ""
    requirements: JsonObject = {}
    source: Sha256 | None = Field(default=None, description="The SHA-256 of a snapshot of the project's files, a blob.")
    module: Text | None = None
    function: Text | None = None
    returns: list[Text] = []
    arguments: list[Text] = []
    code: Sha256 | None = Field(default=None, description="Fingerprint of the code that the function depends on.")
    pickle: Sha256 | None = Field(
        default=None, description="The SHA-256 of the pickled function, a blob, where no file defines it."
    )


class Container(Body):
    image: Text = ""
    arguments: Text = ""
    setup_script: Text = ""


class InputModel(Body):
    id: Word | None = Field(default=None, description="Made up when it is left out.")
    name: Name
    url: Address = ""
    framework: Word = ""
    comment: Long = ""
    tags: Tags = []
    labels: JsonObject = {}
    config_text: Text = ""
    config_dict: JsonObject = {}
    project: Word = Field(default="", description="The task's, when it is left out.")
    published: bool = Field(default=False, description="For everybody's use: it shall not change any more.")
    archived: bool = Field(default=False, description="Out of sight in lists.")
    parent: Word | None = Field(default=None, description="The id of the model that it was made from.")
    iteration: int | None = Field(default=None, ge=-LARGEST_INTEGER, le=LARGEST_INTEGER)
    metadata: JsonObject = Field(default={}, description="By name: an object with value and type.")


Hyperparameters = dict[Name, dict[Name, Parameter]]
Configurations = dict[Name, Configuration]
LR = {"General": {"lr": {"value": 0.1, "type": "float", "description": "learning rate"}}}


class CreateTask(Body):
    model_config = example(
        {
            "name": "train",
            "project": "iris",
            "type": "training",
            "hyperparameters": LR,
            "script": {"entry_point": "train.py", "working_dir": "."},
            "tags": ["baseline"],
        }
    )

    name: Name
    project: Name
    type: TaskType = "training"
    parent: Id | None = None
    origin: Id | None = Field(default=None, description="The task from inside whose process it is made.")
    comment: Long = ""
    hyperparameters: Hyperparameters = {}
    configuration: Configurations = {}
    script: Script = Script()
    container: Container = Container()
    output_destination: Address = ""
    models: list[InputModel] = Field(default=[], description="Input models.")
    tags: Tags = []
    system_tags: Tags = []
    on_lost: Literal["requeue", "fail"] = Field(default="requeue", description="What happens when its agent is lost.")
    max_attempts: int = Field(default=3, ge=1, le=1_000)

    def created(self) -> task.TaskCreated:
        """The command, whose `content` the controller fills in."""
        return task.TaskCreated(
            name=self.name,
            project=self.project,
            type=self.type,
            parent=self.parent,
            origin=self.origin,
            content="",
            on_lost=self.on_lost,
            max_attempts=self.max_attempts,
        )

    def content(self) -> content.Content:
        return content.Content(
            type=self.type,
            comment=self.comment,
            hyperparameters={name: _parameters(section) for name, section in self.hyperparameters.items()},
            configuration={name: _as(content.Configuration, one) for name, one in self.configuration.items()},
            script=_as(content.Script, self.script),
            container=_as(content.Container, self.container),
            output_destination=self.output_destination,
            models=[asdict(_model("input", model)) for model in self.models],
            tags=self.tags,
            system_tags=self.system_tags,
        )


class EditTask(Body):
    """What is left out or null stays as it is."""

    model_config = example({"hyperparameters": LR, "tags": ["baseline", "tuned"], "comment": "again"})

    name: Name | None = None
    project: Name | None = None
    type: TaskType | None = None
    parent: Id | None = None
    comment: Long | None = None
    hyperparameters: dict[Name, dict[Name, Parameter | None] | None] | None = Field(
        None, description="Merged by section and name; null deletes a name or a section."
    )
    replace_hyperparameters: bool = Field(default=False, description="Those given replace all there are.")
    configuration: dict[Name, Configuration | None] | None = Field(default=None, description="Merged; null deletes.")
    script: Script | None = Field(default=None, description="Merged: fields that are left out stay as they are.")
    container: Container | None = Field(default=None, description="Merged: fields that are left out stay as they are.")
    output_destination: Address | None = None
    runtime: JsonObject | None = Field(default=None, description="Merged; null deletes.")
    tags: Tags | None = None
    system_tags: Tags | None = None
    attempt: int | None = Field(
        default=None, ge=1, description="The attempt that edits its own task: refused once it is over."
    )

    @property
    def builds_on_the_present(self) -> bool:
        """Whether what it leaves out must be known to say what it means."""
        return self.script is not None or self.container is not None

    def edited(self, present: content.Content) -> task.TaskEdited:
        """The command, for a task that is made of `present`."""
        edit = content.Edit(
            type=self.type,
            comment=self.comment,
            hyperparameters=self._hyperparameters(),
            replace_hyperparameters=self.replace_hyperparameters,
            configuration=self._configuration(),
            script=_merged(present.script, self.script),
            container=_merged(present.container, self.container),
            output_destination=self.output_destination,
            tags=self.tags,
            system_tags=self.system_tags,
        )
        return task.TaskEdited(
            edit=None if edit == content.Edit() else edit,
            name=self.name,
            project=self.project,
            parent=self.parent,
            runtime=self.runtime,
            attempt=self.attempt,
        )

    def _hyperparameters(self) -> Mapping[str, Mapping[str, content.Parameter | None] | None] | None:
        if self.hyperparameters is None:
            return {} if self.replace_hyperparameters else None
        return {
            name: None if section is None else _parameters(section) for name, section in self.hyperparameters.items()
        }

    def _configuration(self) -> Mapping[str, content.Configuration | None] | None:
        if self.configuration is None:
            return None
        return {
            name: None if one is None else _as(content.Configuration, one) for name, one in self.configuration.items()
        }


class CloneTask(Body):
    model_config = example({"name": "train, lr 0.2"})

    name: Name | None = Field(default=None, description="'Clone of ...' when it is left out.")
    project: Name | None = None
    parent: Id | None = None
    comment: Long | None = None
    origin: Id | None = None


class EnqueueTask(Body):
    model_config = example({"queue": "default", "priority": 0})

    queue: Name
    priority: int = Field(default=0, ge=-(2**31) + 1, le=2**31 - 1, description="Higher goes first.")
    origin: Id | None = None


class StartTask(Body):
    model_config = example({"session": "5e" * 16, "host": "laptop", "lease": 60.0})

    session: Id = Field(description="New for each process; the same one when the request is repeated.")
    host: Word = ""
    lease: float = Field(default=LEASE, ge=1, le=3_600, description="Seconds that the process may be silent.")


class Heartbeat(Body):
    model_config = example({"session": "5e" * 16, "attempt": 1})

    session: Id
    attempt: int = Field(ge=1, le=LARGEST_INTEGER)


class Nothing(Body):
    """An object without fields: the command says it all."""


class Reason(Body):
    model_config = example({"reason": "found a mistake in the data"})

    reason: Long = ""


class End(Reason):
    model_config = example({"reason": "good enough"})

    attempt: int = Field(
        default=0, ge=0, le=LARGEST_INTEGER, description="The attempt whose process says so: refused once it is lost."
    )


class Stop(End):
    model_config = example({"reason": "takes too long", "now": False})

    now: bool = Field(default=False, description="Without leaving it the time to save its work.")


class AddArtifact(Body):
    """`sha256`, the hash of a stored blob; or `url`, where its bytes are, and then `sha256` is their hash there."""

    model_config = example({"name": "data", "url": "s3://bucket/iris.csv", "type": "table", "size": 4551})

    name: PrintableName
    sha256: Sha256 | None = None
    url: Annotated[Address, Field(min_length=1, max_length=10_000)] | None = None
    size: int | None = Field(default=None, ge=0, le=LARGEST_INTEGER, description="In bytes; known of a blob.")
    type: Word = ""
    format: Word = ""
    filename: Word = ""
    preview: Long = ""
    metadata: JsonObject = {}
    mode: Literal["input", "output"] = "output"
    attempt: int = Field(default=0, ge=0, description="The attempt that made it: refused once it is over.")

    @property
    def blob(self) -> str | None:
        """The SHA-256 of the blob that holds its bytes; None when they are stored elsewhere."""
        return self.sha256 if self.url is None else None

    def added(self, size: int | None) -> task.ArtifactAdded:
        """The command; `size` is that of the blob. Raises Invalid."""
        if self.sha256 is None and self.url is None:
            raise Invalid("Give sha256, the hash of a stored blob, or url, where it is stored.", "sha256")
        blob = f"foldline://blobs/{self.sha256}/{quote(self.filename or self.name, safe='')}"
        return task.ArtifactAdded(
            name=self.name,
            url=self.url or blob,
            hash=self.sha256,
            size=self.size if size is None else size,
            type=self.type,
            format=self.format,
            filename=self.filename,
            preview=self.preview,
            metadata=self.metadata,
            mode=self.mode,
            attempt=self.attempt,
        )


class RemoveArtifacts(Body):
    model_config = example({"names": ["data"]})

    names: list[PrintableName] = Field(max_length=1000)
    attempt: int = Field(default=0, ge=0, description="The attempt that removes its own: refused once it is over.")


class AddModel(InputModel):
    model_config = example({"kind": "output", "name": "tree", "url": "s3://bucket/tree.onnx"})

    kind: Literal["input", "output"]
    attempt: int = Field(default=0, ge=0, description="The attempt that made or read it: refused once it is over.")

    def added(self, project: str) -> task.ModelAdded:
        """The command; `project` is the task's."""
        command = _model(self.kind, self)
        return replace(command, project=self.project or project, attempt=self.attempt)


class Point(Body):
    title: PrintableName
    series: PrintableName
    iteration: int = Field(ge=-LARGEST_INTEGER, le=LARGEST_INTEGER)
    value: float = Field(allow_inf_nan=False)
    ago: float = Field(default=0.0, ge=0, le=MOST_SECONDS, description="Seconds before this request that it was made.")


class AddScalars(Body):
    model_config = example({"points": [{"title": "loss", "series": "train", "iteration": 10, "value": 0.35}]})

    points: list[Point] = Field(max_length=MOST_POINTS)
    attempt: int = Field(default=0, ge=0, description="The attempt that made them: refused once it is over.")


class CreateToken(Body):
    model_config = example({"name": "ana"})

    name: PrintableName


class MakeBackup(Body):
    model_config = example({"to": "/var/backups/foldline/2026-11-22"})

    to: Annotated[str, Field(pattern=r"^/[^\x00]*$", max_length=4000, description="A folder on the server's machine.")]


def _as(kind: type[T], body: Body) -> T:
    """The domain's value with the fields of `body`."""
    return kind(**{name: getattr(body, name) for name in type(body).model_fields})


def _merged(present: T, body: Body | None) -> T | None:
    """`present` with the fields that were given; None when there is nothing to change."""
    if body is None:
        return None
    return replace(cast(Any, present), **{name: getattr(body, name) for name in body.model_fields_set})


def _parameters(section: Mapping[str, Parameter | None]) -> dict[str, Any]:
    return {name: None if one is None else _as(content.Parameter, one) for name, one in section.items()}


def _model(kind: str, body: InputModel) -> task.ModelAdded:
    given = {name: getattr(body, name) for name in InputModel.model_fields if name != "id"}
    return task.ModelAdded(id=body.id or new_id(), kind=kind, **given)
