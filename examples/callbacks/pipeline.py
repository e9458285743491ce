"""A pipeline whose own Python decides on the way: which step to spare, with which parameters, when it is good enough.

python pipeline.py            # submit it; an agent of the queue `services` calls the callbacks
python pipeline.py --local    # or run it here, without any agent
"""

import sys

from sklearn.datasets import load_iris
from sklearn.model_selection import cross_val_score
from sklearn.tree import DecisionTreeClassifier

from foldline import PipelineController

DEPTHS = (1, 2, 3, 4)
GOOD_ENOUGH = 0.9


def load():
    features, labels = load_iris(return_X_y=True)
    return {"features": features.tolist(), "labels": labels.tolist()}


def train(data, depth, seed):
    """How well a tree of that depth does over five folds."""
    tree = DecisionTreeClassifier(max_depth=depth, random_state=seed)
    accuracy = float(cross_val_score(tree, data["features"], data["labels"], cv=5).mean())
    print(f"depth {depth}, seed {seed}: {accuracy:.4f}")
    return accuracy


def accuracy_of(node):
    """What a training has returned; None when it has not come to a good end."""
    return node.job.task.get_parameters()["return/accuracy"] if node.executed else None


def spare_when_good(pipeline, node, parameters):
    """Before a training: skip it when a smaller tree was good enough, else give it a seed of its own."""
    found = [accuracy_of(other) for name, other in pipeline.get_processed_nodes().items() if name.startswith("depth")]
    if any(accuracy >= GOOD_ENOUGH for accuracy in found):
        print(f"{node.name} is not needed")
        return False
    parameters["kwargs/seed"] = parameters["kwargs/depth"] * 10
    return True


def note_accuracy(pipeline, node):
    """After a training: keep its accuracy with the run."""
    if node.executed:
        depth = int(node.name.removeprefix("depth "))
        pipeline.get_logger().report_scalar("trees", "accuracy", value=accuracy_of(node), iteration=depth)


def say(pipeline, node, previous_status):
    print(f"{node.name}: {previous_status} -> {node.status}")


def build():
    pipe = PipelineController("callbacks", "iris callbacks", version="1.0.0")
    pipe.set_default_execution_queue("default")
    pipe.add_function_step("load", load, function_return=["data"])
    before = "load"
    for depth in DEPTHS:
        pipe.add_function_step(
            f"depth {depth}",
            train,
            {"data": "${load.data}", "depth": depth, "seed": 0},
            ["accuracy"],
            parents=[before],
            pre_execute_callback=spare_when_good,
            post_execute_callback=note_accuracy,
            status_change_callback=say,
        )
        before = f"depth {depth}"
    return pipe


if __name__ == "__main__":
    pipe = build()
    if "--local" in sys.argv:
        pipe.start_locally(run_pipeline_steps_locally=True)
    else:
        pipe.start()
    # In the host of a submitted run this is reached too, once the run has ended.
    trained = [name for name in pipe.get_processed_nodes() if name != "load"]
    print(f"trained: {', '.join(trained)}")
