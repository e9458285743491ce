"""The second step: takes the table of another task, and leaves its parts."""

import csv
import random

from foldline import Task, TaskTypes

task = Task.init(
    project_name="corpus", task_name="step 2 process dataset", task_type=TaskTypes.data_processing, tags=["template"]
)
args = {"dataset_task_id": "", "dataset_url": "", "random_state": 42, "test_size": 0.2}
task.connect(args)
print(f"Arguments: {args}")
task.execute_remotely()

if args["dataset_task_id"]:
    dataset_upload_task = Task.get_task(task_id=args["dataset_task_id"])
    path = dataset_upload_task.artifacts["dataset"].get_local_copy()
else:
    raise ValueError("Missing dataset link")
with open(path) as file:
    header, *rows = list(csv.reader(file))
random.Random(args["random_state"]).shuffle(rows)
cut = int(len(rows) * args["test_size"])
parts = {"X_test": [row[:2] for row in rows[:cut]], "X_train": [row[:2] for row in rows[cut:]]}
for name, part in parts.items():
    task.upload_artifact(name, part)
task.set_progress(100)
task.get_logger().report_single_value("rows", len(rows))
