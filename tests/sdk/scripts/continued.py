"""A training that goes on where an earlier attempt of the same task has left off."""

from foldline import Task

task = Task.init("corpus", "continued", continue_last_task=True)
start = task.get_initial_iteration()
count = task.artifacts["count"].get() if "count" in task.artifacts else 0
for step in range(3):
    task.get_logger().report_scalar("loss", "train", value=count + step, iteration=step)
task.upload_artifact("count", count + 3)
print("from", start)
