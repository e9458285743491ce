"""What a build does: find the task of a commit, look at its figure, and tag it."""

import sys

from foldline import Task

commit = sys.argv[1]
query = {
    "status": ["completed"],
    "order_by": ["-last_update"],
    "_all_": {"fields": ["script.version_num"], "pattern": commit},
    "type": ["training"],
}
found = Task.query_tasks(project_name="corpus", task_name="^ci ", task_filter=query)
if not found:
    sys.exit("no task of this commit has completed")
task = Task.get_task(task_id=found[0])
best = task.get_last_scalar_metrics()["Summary"]["mAP"]["max"]
for other in Task.get_tasks(project_name="corpus", tags=["main"]):
    other.remove_tags(["main"])
task.add_tags(["main"])
[said] = Task.query_tasks(
    "corpus",
    "^ci ",
    tags=["main"],
    additional_return_fields=["script.version_num", "status", "hyperparams.Args.lr.value"],
)
print(task.name, best, task.data.status, task.data.script.version_num, said)
