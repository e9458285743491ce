"""Artifacts of every kind, and a table that changes while the script runs."""

import os

import numpy

from foldline import Task

task = Task.init(project_name="corpus", task_name="artifacts")
os.makedirs("out/deep", exist_ok=True)
for name in ("a.txt", "b.txt", "deep/c.txt", "d.log"):
    with open(f"out/{name}", "w") as file:
        file.write(name)


class Seen(list):
    """A table, as far as this task cares."""


seen = Seen()
task.register_artifact("seen", seen, metadata={"kind": "table"})
seen.append(1)
task.upload_artifact("local file", artifact_object="out/d.log", delete_after_upload=True)
task.upload_artifact("local folder", artifact_object=os.path.join("out"))
task.upload_artifact("wildcard", artifact_object="out/*.txt")
task.upload_artifact("array", numpy.eye(3), preview="an identity", metadata={"shape": "3x3"})
task.upload_artifact("compressed", numpy.eye(3), extension_name=".npz")
task.upload_artifact(name="numbers", artifact_object={"b": 1, "a": [1.5, None]}, wait_on_upload=True)
task.upload_artifact("text", "just words")
assert (task.artifacts["array"].get() == numpy.eye(3)).all()
seen.append(2)
print("artifacts:", *sorted(task.artifacts))
