"""Functions as steps: load, split, two trainings side by side, and a pick of the better one.

python pipeline.py    # submits a run

A step imports this file, so what stands at its top is there in each function.
"""

from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.tree import DecisionTreeClassifier

from foldline import PipelineController


def load():
    iris = load_iris()
    return iris.data, iris.target


def split(features, labels, test_size, seed=42):
    parts = train_test_split(features, labels, test_size=test_size, random_state=seed, stratify=labels)
    train_features, test_features, train_labels, test_labels = parts
    return (train_features, train_labels), (test_features, test_labels)


def train_linear(train_part, strength=1.0):
    return LogisticRegression(C=strength, max_iter=500).fit(*train_part)


def train_tree(train_part, depth=2):
    return DecisionTreeClassifier(max_depth=depth, random_state=0).fit(*train_part)


def pick(test_part, linear, tree):
    models = {"linear": linear, "tree": tree}
    accuracy = {name: float(model.score(*test_part)) for name, model in models.items()}
    winner = max(accuracy, key=lambda name: accuracy[name])
    print(f"{winner} is the better one: {accuracy}")
    return winner, accuracy


def build() -> PipelineController:
    pipe = PipelineController(name="iris by functions", project="functions", version="1.0.0")
    pipe.set_default_execution_queue("default")
    pipe.add_parameter("test_size", 0.3, "the part of the flowers to test on", param_type="float")
    pipe.add_function_step("load", load, function_return=["features", "labels"])
    pipe.add_function_step(
        "split",
        split,
        function_kwargs={
            "features": "${load.features}",
            "labels": "${load.labels}",
            "test_size": "${pipeline.test_size}",
        },
        function_return=["train_part", "test_part"],
    )
    for name, train in {"linear": train_linear, "tree": train_tree}.items():
        pipe.add_function_step(
            f"train {name}", train, function_kwargs={"train_part": "${split.train_part}"}, function_return=["model"]
        )
    pipe.add_function_step(
        "pick",
        pick,
        function_kwargs={
            "test_part": "${split.test_part}",
            "linear": "${train linear.model}",
            "tree": "${train tree.model}",
        },
        function_return=["winner", "accuracy"],
    )
    return pipe


if __name__ == "__main__":
    build().start()
