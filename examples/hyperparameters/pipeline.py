"""Fifteen trainings side by side on the iris data, and a step that picks the best of them.

python pipeline.py            # submit it: agents train as many at a time as they have slots
python pipeline.py --local    # or run it here, without any agent
"""

import sys

# Imported once on each machine: the trainings there are forks of one process that has it.
from sklearn.datasets import load_iris
from sklearn.model_selection import cross_val_score, train_test_split
from sklearn.svm import SVC

from foldline import Logger, PipelineController

STRENGTHS = (0.003, 0.03, 0.3, 3.0, 30.0)
KERNELS = ("linear", "poly", "rbf")


def split(test_size, seed):
    """The iris data in two parts, the same for the same arguments."""
    features, labels = load_iris(return_X_y=True)
    parts = train_test_split(features, labels, test_size=test_size, random_state=seed, stratify=labels)
    return [part.tolist() for part in parts]


def train(data, kernel, strength):
    """How many of the test flowers a support vector machine names rightly, and its margin over five folds."""
    train_features, test_features, train_labels, test_labels = data
    model = SVC(kernel=kernel, C=strength)
    folds = float(cross_val_score(model, train_features, train_labels, cv=5).mean())
    accuracy = float(model.fit(train_features, train_labels).score(test_features, test_labels))
    logger = Logger.current_logger()
    logger.report_scalar("folds", "accuracy", value=folds, iteration=0)
    logger.report_scalar("test", "accuracy", value=accuracy, iteration=0)
    print(f"{kernel} with C={strength}: {folds:.4f} over five folds, {accuracy:.4f} on the test flowers")
    return {"kernel": kernel, "strength": strength, "folds": folds, "accuracy": accuracy}


def pick_best(**results):
    """The training that did best over the folds; of equals the one with the smallest C."""
    best = max(results.values(), key=lambda found: (found["folds"], -found["strength"]))
    print(f"the best of {len(results)} is {best}")
    return best


def build():
    pipe = PipelineController("hyperparameters", "iris hyperparameters", version="1.0.0")
    pipe.set_default_execution_queue("default")
    pipe.add_parameter("test_size", 0.3, "the part of the data to test on", param_type="float")
    pipe.add_parameter("seed", 7, param_type="int")
    pipe.add_function_step("split", split, {"test_size": "${pipeline.test_size}", "seed": "${pipeline.seed}"}, ["data"])
    names = {}
    for kernel in KERNELS:
        for number, strength in enumerate(STRENGTHS):
            name = f"{kernel} {strength:g}"
            names[f"{kernel}_{number}"] = name
            pipe.add_function_step(
                name,
                train,
                {"data": "${split.data}", "kernel": kernel, "strength": strength},
                ["result"],
                monitor_metrics=[(("test", "accuracy"), ("test accuracy", name))],
                cache_executed_step=True,
            )
    pipe.add_function_step(
        "pick best",
        pick_best,
        {argument: f"${{{name}.result}}" for argument, name in names.items()},
        ["best"],
        monitor_artifacts=["best"],
    )
    return pipe


if __name__ == "__main__":
    pipe = build()
    if "--local" in sys.argv:
        pipe.start_locally(run_pipeline_steps_locally=True)
        print("the best:", pipe.task.artifacts["best"].get())
    else:
        pipe.start()
