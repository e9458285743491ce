"""Random search by hand over a template's parameters; the best is named on the searching task."""

from random import Random

from foldline import Task

task = Task.init(project_name="corpus", task_name="random search", task_type=Task.TaskTypes.optimizer)
configuration = {"experiments": 3, "base_experiment_id": None, "queue": "corpus"}
configuration = task.connect(configuration)
if not configuration["base_experiment_id"]:
    base = Task.get_task(project_name="corpus", task_name="toy base task")
    configuration["base_experiment_id"] = base.id

random = Random(7)
children = []
for number in range(configuration["experiments"]):
    cloned = Task.clone(
        source_task=configuration["base_experiment_id"], name=f"search {number}", parent=task.id, comment="by hand"
    )
    parameters = cloned.get_parameters()
    parameters["General/lr"] = random.choice([0.05, 0.5, 5.0])
    parameters["General/steps"] = 3
    parameters["options/workers"] = number + 1
    cloned.set_parameters(parameters)
    cloned.add_tags(["search"])
    Task.enqueue(task=cloned, queue_name=configuration["queue"])
    children.append(cloned)
for child in children:
    child.wait_for_status(check_interval_sec=0.2)
best = min(children, key=lambda child: child.get_last_scalar_metrics()["loss"]["train"]["last"])
best.add_tags("best")
task.set_user_properties({"name": "best", "description": "of all", "value": best.id})
