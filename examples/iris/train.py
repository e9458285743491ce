"""Step 3: train one classifier and say how good it is. The pipeline runs it several times with other parameters."""

from foldline import Task

task = Task.init(project_name="iris", task_name="train", task_type=Task.TaskTypes.training)
args = {"split_task_id": "", "C": 1.0, "max_iter": 200}
task.connect(args)
task.execute_remotely()

from sklearn.linear_model import LogisticRegression  # noqa: E402
from sklearn.metrics import log_loss  # noqa: E402

split = Task.get_task(task_id=args["split_task_id"]).artifacts["split"].get()
model = LogisticRegression(C=args["C"], max_iter=args["max_iter"])
model.fit(split["train_features"], split["train_labels"])

accuracy = float(model.score(split["test_features"], split["test_labels"]))
loss = float(log_loss(split["test_labels"], model.predict_proba(split["test_features"])))
logger = task.get_logger()
logger.report_scalar("test", "accuracy", value=accuracy, iteration=0)
logger.report_scalar("test", "log loss", value=loss, iteration=0)
task.upload_artifact(
    "model", {"coefficients": model.coef_.tolist(), "intercepts": model.intercept_.tolist(), "C": args["C"]}
)
print(f"C={args['C']}: accuracy {accuracy:.4f}, log loss {loss:.4f}")
