"""A training that other scripts clone and change: parameters, nested ones, a configuration, labels, a curve."""

from dataclasses import dataclass, field

from foldline import Logger, Task
from foldline.task import Task as SameTask

assert SameTask is Task


@dataclass
class Optimizer:
    kind: str = "sgd"
    momentum: float = 0.9


@dataclass(frozen=True)
class Options:
    workers: int = 2
    optimizer: Optimizer = field(default_factory=Optimizer)


task = Task.init(project_name="corpus", task_name="toy base task", output_uri=True)
params = {"batch_size": 64, "lr": 0.1, "layers": [8, 4], "augment": {"flip": True, "crop": None}}
params = task.connect(params)
params["steps"] = 5
options = task.connect(Options(), name="options")
model = task.connect_configuration({"type": "mlp", "activation": "relu"}, name="model")
task.connect_label_enumeration({"background": 0, "cat": 1})
if not Task.running_locally():
    task.set_user_properties(seen_lr=params["lr"])

for step in range(params["steps"]):
    loss = 1 / (1 + params["lr"] * step * options.workers)
    Logger.current_logger().report_scalar(title="loss", series="train", value=loss, iteration=step)
print("trained", params["layers"], options.optimizer.kind, model["activation"])
