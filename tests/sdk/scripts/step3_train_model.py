"""The third step: trains on another task's artifacts."""

from foldline import Logger, Task

task = Task.init(project_name="corpus", task_name="step 3 train model")
args = {"dataset_task_id": "REPLACE_WITH_DATASET_TASK_ID"}
task.connect(args, name="General")
task.execute_remotely(queue_name=None)

dataset_task = Task.get_task(task_id=args["dataset_task_id"])
train = dataset_task.artifacts["X_train"].get()
test = dataset_task.artifacts["X_test"].get()
mean = sum(float(row[0]) for row in train) / len(train)
error = sum(abs(float(row[0]) - mean) for row in test) / len(test)
Logger.current_logger().report_scalar("validation", "error", value=error, iteration=0)
task.upload_artifact("model", {"mean": mean}, extension_name=".json")
