"""One family of models on the iris data, as a pipeline: load, train, judge. The outer pipeline runs it twice.

python inner.py    # once: put it on the server, as a draft
"""

from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.naive_bayes import GaussianNB

from foldline import Logger, PipelineController


def load(test_size):
    features, labels = load_iris(return_X_y=True)
    parts = train_test_split(features, labels, test_size=test_size, random_state=3, stratify=labels)
    return [part.tolist() for part in parts]


def train(data, family):
    """The model's answers for the test flowers."""
    model = {"logistic": LogisticRegression(max_iter=500), "bayes": GaussianNB()}[family]
    train_features, test_features, train_labels, _ = data
    return model.fit(train_features, train_labels).predict(test_features).tolist()


def judge(data, answers, family):
    """A report about the family, which the run shows as its own."""
    labels = data[3]
    right = sum(answer == label for answer, label in zip(answers, labels, strict=True))
    Logger.current_logger().report_scalar("test", "accuracy", value=right / len(labels), iteration=0)
    return {"family": family, "right": right, "of": len(labels)}


def build():
    pipe = PipelineController("one family", "iris nested", version="1.0.0")
    pipe.set_default_execution_queue("default")
    pipe.add_parameter("family", "logistic", "logistic or bayes", param_type="str")
    pipe.add_parameter("test_size", 0.2, param_type="float")
    pipe.add_function_step("load", load, {"test_size": "${pipeline.test_size}"}, ["data"])
    pipe.add_function_step("train", train, {"data": "${load.data}", "family": "${pipeline.family}"}, ["answers"])
    pipe.add_function_step(
        "judge",
        judge,
        {"data": "${load.data}", "answers": "${train.answers}", "family": "${pipeline.family}"},
        ["report"],
        monitor_artifacts=["report"],
        monitor_metrics=[("test", "accuracy")],
    )
    return pipe


if __name__ == "__main__":
    build().create_draft()
