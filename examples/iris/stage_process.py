"""Step 2: split the staged data for training and for testing, the same way for the same parameters."""

from foldline import StorageManager, Task

task = Task.init(project_name="iris", task_name="process data", task_type=Task.TaskTypes.data_processing)
args = {"dataset_url": "", "test_size": 0.25, "random_state": 42}
task.connect(args)
task.execute_remotely()

import json  # noqa: E402

from sklearn.model_selection import train_test_split  # noqa: E402

with open(StorageManager.get_local_copy(args["dataset_url"])) as file:
    dataset = json.load(file)
parts = train_test_split(
    dataset["features"],
    dataset["labels"],
    test_size=args["test_size"],
    random_state=args["random_state"],
    stratify=dataset["labels"],
)
names = ("train_features", "test_features", "train_labels", "test_labels")
task.upload_artifact("split", dict(zip(names, parts, strict=True)))
print(f"{len(parts[0])} flowers to train on, {len(parts[1])} to test on")
