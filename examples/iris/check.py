"""Computes the winner's accuracy from a run's downloaded artifacts alone, without Foldline.

python check.py FOLDER    # FOLDER holds split.json and one model-*.json per training
"""

import json
import sys
from pathlib import Path

import numpy as np


def accuracy(model, split):
    """The part of the test flowers that the linear model's largest score names rightly."""
    features = np.asarray(split["test_features"])
    scores = features @ np.asarray(model["coefficients"]).T + np.asarray(model["intercepts"])
    return float((scores.argmax(axis=1) == np.asarray(split["test_labels"])).mean())


def best(folder: Path) -> tuple[str, float]:
    """The most accurate model's name, and its accuracy."""
    split = json.loads((folder / "split.json").read_text())
    found = {
        path.stem.removeprefix("model-"): accuracy(json.loads(path.read_text()), split)
        for path in sorted(folder.glob("model-*.json"))
    }
    name = max(found, key=lambda model: found[model])
    return name, found[name]


if __name__ == "__main__":
    name, value = best(Path(sys.argv[1]))
    print(f"{name}: {value:.6f}")
