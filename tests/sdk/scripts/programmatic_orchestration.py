"""A custom pipeline: three templates, cloned and run one after the other in ordinary Python."""

from foldline import Task

task = Task.init("corpus", "orchestration", task_type=Task.TaskTypes.controller, reuse_last_task_id=False)
options = task.connect({"queue": "corpus", "test_size": 0.5})
project = task.get_project_name()


def run(template, **parameters):
    cloned = Task.clone(source_task=Task.get_task(project_name=project, task_name=template), parent=task.id)
    cloned.set_parameters({**cloned.get_parameters(), **parameters})
    Task.enqueue(cloned.id, queue_name=options["queue"])
    cloned.wait_for_status(
        status=[Task.TaskStatusEnum.completed], raise_on_status=[Task.TaskStatusEnum.failed], check_interval_sec=0.2
    )
    return cloned


data = run("step 1 dataset artifact")
parts = run("step 2 process dataset", **{"General/dataset_task_id": data.id, "General/test_size": options["test_size"]})
trained = run("step 3 train model", **{"General/dataset_task_id": parts.id})
error = trained.get_last_scalar_metrics()["validation"]["error"]["last"]
task.get_logger().report_single_value("error", error)
print("children", data.id, parts.id, trained.id)
