"""The iris pipeline: stage, process, three trainings side by side, and a function that picks the best.

python stage_data.py; python stage_process.py; python train.py    # once: make the templates
python pipeline.py                                                # submit a run
"""

from foldline import PipelineController

STRENGTHS = {"weak": 0.01, "fair": 1.0, "strong": 100.0}


def pick_best(weak, fair, strong):
    """The best of three trained tasks, given by id: the highest accuracy, then the lowest loss."""
    from foldline import Task

    candidates = {"weak": weak, "fair": fair, "strong": strong}

    def merit(name):
        scalars = Task.get_task(task_id=candidates[name]).get_last_scalar_metrics()["test"]
        return scalars["accuracy"]["last"], -scalars["log loss"]["last"]

    winner = max(candidates, key=merit)
    accuracy, loss = merit(winner)
    print(f"the winner is {winner!r} with accuracy {accuracy:.4f}")
    return {"name": winner, "task_id": candidates[winner], "accuracy": accuracy, "log_loss": -loss}


def build() -> PipelineController:
    pipe = PipelineController(name="iris", project="iris", version="1.0.0")
    pipe.add_parameter("test_size", 0.25, "the part of the data to test on", param_type="float")
    pipe.set_default_execution_queue("default")
    pipe.add_step("stage data", base_task_project="iris", base_task_name="stage data")
    pipe.add_step(
        "process data",
        base_task_project="iris",
        base_task_name="process data",
        parents=["stage data"],
        parameter_override={
            "General/dataset_url": "${stage data.artifacts.dataset.url}",
            "General/test_size": "${pipeline.test_size}",
        },
    )
    for name, strength in STRENGTHS.items():
        pipe.add_step(
            f"train {name}",
            base_task_project="iris",
            base_task_name="train",
            parents=["process data"],
            parameter_override={"General/split_task_id": "${process data.id}", "General/C": strength},
        )
    pipe.add_function_step(
        "pick best",
        function=pick_best,
        function_kwargs={name: f"${{train {name}.id}}" for name in STRENGTHS},
        function_return=["best"],
    )
    return pipe


if __name__ == "__main__":
    build().start()
