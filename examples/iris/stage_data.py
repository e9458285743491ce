"""Step 1: stage the iris data as an artifact.

Run by hand it makes a template task and ends; a pipeline clones the template, and an agent runs the rest.
"""

from foldline import Task

task = Task.init(project_name="iris", task_name="stage data", task_type=Task.TaskTypes.data_processing)
task.execute_remotely()

from sklearn.datasets import load_iris  # noqa: E402 - imported where it runs: making the template needs none of it

iris = load_iris()
dataset = {
    "features": iris.data.tolist(),
    "labels": iris.target.tolist(),
    "names": iris.target_names.tolist(),
}
task.upload_artifact("dataset", dataset)
print(f"staged {len(dataset['labels'])} flowers of {len(dataset['names'])} kinds")
