"""The same with a whole pipeline: run it, read its metric, clone it with other parameters, until it is good enough.

python pipelines_until_good.py
"""

import sys

from sklearn.datasets import load_iris
from sklearn.model_selection import train_test_split
from sklearn.tree import DecisionTreeClassifier

from foldline import Client, Logger, PipelineController, Task

GOOD_ENOUGH = 0.95
SHALLOWEST, DEEPEST = 2, 5


def load(test_size):
    iris = load_iris()
    return train_test_split(iris.data, iris.target, test_size=test_size, random_state=42, stratify=iris.target)


def train(parts, depth):
    train_features, test_features, train_labels, test_labels = parts
    tree = DecisionTreeClassifier(max_depth=depth, random_state=0).fit(train_features, train_labels)
    accuracy = float(tree.score(test_features, test_labels))
    Logger.current_logger().report_scalar("test", "accuracy", value=accuracy, iteration=0)
    return tree


def build() -> PipelineController:
    pipe = PipelineController(name="grow a tree", project="custom")
    pipe.set_default_execution_queue("default")
    pipe.add_parameter("depth", SHALLOWEST, "how deep the tree may grow", param_type="int")
    pipe.add_function_step("load", load, function_kwargs={"test_size": 0.3}, function_return=["parts"])
    pipe.add_function_step(
        "train",
        train,
        function_kwargs={"parts": "${load.parts}", "depth": "${pipeline.depth}"},
        function_return=["tree"],
        # The step's metric is seen on the run too.
        monitor_metrics=[("test", "accuracy")],
    )
    return pipe


def accuracy_of(pipe: PipelineController) -> float:
    if not pipe.is_successful():
        sys.exit(f"the run {pipe.id} has not completed")
    return Task.get_task(task_id=pipe.id).get_last_scalar_metrics()["test"]["accuracy"]["last"]


if __name__ == "__main__":
    me = Task.init(project_name="custom", task_name="pipelines until good", task_type=Task.TaskTypes.controller)
    client = Client()
    pipe = build()
    pipe.start_locally()
    depth, accuracy = SHALLOWEST, accuracy_of(pipe)
    print(f"depth {depth}: accuracy {accuracy:.4f}")
    while accuracy < GOOD_ENOUGH and depth < DEEPEST:
        depth += 1
        draft = client.runs.clone(pipe.id, name=f"grow a tree, depth {depth}", parameters={"depth": depth})
        pipe = PipelineController.get(pipeline_id=draft["id"])
        PipelineController.enqueue(pipe)
        pipe.wait()
        accuracy = accuracy_of(pipe)
        print(f"depth {depth}: accuracy {accuracy:.4f}")
    if accuracy < GOOD_ENOUGH:
        sys.exit(f"no tree of up to {DEEPEST} levels is good enough")
    me.upload_artifact("best", {"run_id": pipe.id, "depth": depth, "accuracy": accuracy})
