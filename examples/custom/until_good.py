"""A pipeline in ordinary Python: train, look at the metric, train again with other parameters until it is good enough.

python train.py         # once: makes the template
python until_good.py    # the loop; whatever it makes is listed under its run of kind custom
"""

import sys

from foldline import Task

GOOD_ENOUGH = 0.95
DEPTHS = range(2, 6)


def train_until_good(me: Task, template: Task) -> Task | None:
    """The first training that is good enough; None when none is."""
    for depth in DEPTHS:
        training = Task.clone(source_task=template, name=f"train tree, depth {depth}", parent=me.id)
        training.set_parameters({**template.get_parameters(), "General/depth": depth})
        Task.enqueue(training, queue_name="default")
        training.wait_for_status()
        accuracy = training.get_last_scalar_metrics()["test"]["accuracy"]["last"]
        me.get_logger().report_scalar("search", "accuracy", value=accuracy, iteration=depth)
        print(f"depth {depth}: accuracy {accuracy:.4f}")
        if accuracy >= GOOD_ENOUGH:
            return training
    return None


if __name__ == "__main__":
    task = Task.init(project_name="custom", task_name="until good", task_type=Task.TaskTypes.controller)
    template = Task.get_task(project_name="custom", task_name="train tree")
    if template is None:
        sys.exit("there is no template yet: run train.py once")
    best = train_until_good(task, template)
    if best is None:
        sys.exit(f"no tree of {DEPTHS[0]} to {DEPTHS[-1]} levels is good enough")
    rules = best.artifacts["rules"].get()
    task.upload_artifact("best", {"task_id": best.id, **rules})
    print(rules["text"])
