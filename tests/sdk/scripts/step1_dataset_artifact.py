"""The first step: leaves a table on the task, when an agent runs it."""

from foldline import StorageManager, Task

task = Task.init(project_name="corpus", task_name="step 1 dataset artifact")
task.execute_remotely()

with open("iris.csv", "w") as table:
    table.write("length,width,kind\n")
    table.writelines(f"{4 + n / 10},{2 + n / 20},{n % 3}\n" for n in range(30))
task.upload_artifact("dataset", artifact_object="iris.csv", metadata={"rows": 30})
assert StorageManager.get_local_copy(remote_url=task.artifacts["dataset"].url)
print("uploading artifacts in the background")
