"""A model of the iris data that is released only when a person has said yes.

python pipeline.py                         # submit it
foldline run approve RUN release --reason "good enough"    # or reject it; nobody within a day is a no, too
"""

from sklearn.datasets import load_iris
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier

from foldline import PipelineController

DAY = 24 * 60 * 60


def train(neighbours):
    """How well so many neighbours name a flower that they have not seen."""
    features, labels = load_iris(return_X_y=True)
    model = KNeighborsClassifier(neighbours)
    accuracy = float(cross_val_score(model, features, labels, cv=5).mean())
    print(f"{neighbours} neighbours: {accuracy:.4f}")
    return accuracy


def publish(accuracy, neighbours):
    """What is released: the model, fitted to all flowers, and what was known of it."""
    features, labels = load_iris(return_X_y=True)
    model = KNeighborsClassifier(neighbours).fit(features, labels)
    return {"accuracy": accuracy, "neighbours": neighbours, "answers": model.predict(features).tolist()}


def build():
    pipe = PipelineController("release", "iris approval", version="1.0.0")
    pipe.set_default_execution_queue("default")
    pipe.add_parameter("neighbours", 5, param_type="int")
    pipe.add_function_step("train", train, {"neighbours": "${pipeline.neighbours}"}, ["accuracy"])
    pipe.add_approval_step("release", message="May this model be released?", parents=["train"], deadline=DAY)
    pipe.add_function_step(
        "publish",
        publish,
        {"accuracy": "${train.accuracy}", "neighbours": "${pipeline.neighbours}"},
        ["released"],
        parents=["release"],
        monitor_artifacts=["released"],
    )
    return pipe


if __name__ == "__main__":
    build().start()
