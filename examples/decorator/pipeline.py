"""A pipeline as a Python function: it branches on a value, fans out in a loop, and fans in again.

python pipeline.py            # an agent of the queue 'services' runs the function, those of 'default' its steps
python pipeline.py --local    # all of it on this machine
"""

import sys

from sklearn.datasets import load_iris
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from foldline import PipelineDecorator


@PipelineDecorator.component(return_values=["features", "labels"])
def load():
    iris = load_iris()
    return iris.data, iris.target


@PipelineDecorator.component(return_values=["ratio"])
def spread(features):
    """How many times wider the widest measure is than the narrowest."""
    deviations = features.std(axis=0)
    return float(deviations.max() / deviations.min())


@PipelineDecorator.component(return_values=["scaled"])
def scale(features):
    return StandardScaler().fit_transform(features)


@PipelineDecorator.component(return_values=["accuracy"])
def validate(features, labels, neighbours):
    """The accuracy of a classifier by so many neighbours, over five folds."""
    scores = cross_val_score(KNeighborsClassifier(neighbours), features, labels, cv=5)
    print(f"{neighbours} neighbours: {scores.mean():.4f}")
    return float(scores.mean())


@PipelineDecorator.component(return_values=["best"])
def pick(candidates, accuracies):
    accuracy, neighbours = max(zip(accuracies, candidates, strict=True))
    return {"neighbours": neighbours, "accuracy": accuracy}


@PipelineDecorator.pipeline(
    name="neighbours", project="decorator", version="1.0.0", return_value="best", default_queue="default"
)
def neighbours(candidates: list, widest: float = 2.0):
    features, labels = load()
    # Looked at here, the value is waited for.
    if spread(features) > widest:
        features = scale(features)
    # Passed on, values are not: these steps run side by side.
    accuracies = [validate(features, labels, candidate) for candidate in candidates]
    best = pick(candidates, accuracies)
    print(f"the best of {candidates} is {best}")
    return best


if __name__ == "__main__":
    if "--local" in sys.argv:
        PipelineDecorator.run_locally()
    neighbours([1, 3, 9, 27])
