"""The template that until_good.py trains again and again: a decision tree of a given depth.

Run by hand it makes the template and ends; an agent runs the rest of each clone.
"""

from foldline import Task

task = Task.init(project_name="custom", task_name="train tree", task_type=Task.TaskTypes.training)
args = {"depth": 1, "test_size": 0.3}
task.connect(args)
task.execute_remotely()

from sklearn.datasets import load_iris  # noqa: E402 - imported where it runs: making the template needs none of it
from sklearn.model_selection import train_test_split  # noqa: E402
from sklearn.tree import DecisionTreeClassifier, export_text  # noqa: E402

iris = load_iris()
parts = train_test_split(iris.data, iris.target, test_size=args["test_size"], random_state=42, stratify=iris.target)
train_features, test_features, train_labels, test_labels = parts
tree = DecisionTreeClassifier(max_depth=args["depth"], random_state=0).fit(train_features, train_labels)

task.get_logger().report_scalar("test", "accuracy", value=float(tree.score(test_features, test_labels)), iteration=0)
task.upload_artifact("rules", {"depth": tree.get_depth(), "text": export_text(tree)})
