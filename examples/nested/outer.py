"""A pipeline of pipelines: two runs of `one family` side by side, with other parameters, and a step that compares them.

python inner.py            # once
python outer.py            # submit a run
python outer.py --local    # or run it here, without any agent
"""

import json
import sys

from foldline import PipelineController, StorageManager


def compare(logistic, bayes):
    """The better of two reports, given by the addresses of the artifacts."""
    reports = []
    for url in (logistic, bayes):
        with open(StorageManager.get_local_copy(url)) as file:
            reports.append(json.load(file))
    best = max(reports, key=lambda report: report["right"])
    print(f"{best['family']} is right about {best['right']} of {best['of']}")
    return best


def build():
    pipe = PipelineController("compare families", "iris nested", version="1.0.0")
    pipe.set_default_execution_queue("default")
    pipe.add_parameter("test_size", 0.4, param_type="float")
    for family in ("logistic", "bayes"):
        pipe.add_step(
            family,
            base_task_project="iris nested",
            base_task_name="one family",
            parameter_override={"Args/family": family, "Args/test_size": "${pipeline.test_size}"},
        )
    pipe.add_function_step(
        "compare",
        compare,
        {family: f"${{{family}.artifacts.report.url}}" for family in ("logistic", "bayes")},
        ["best"],
        monitor_artifacts=["best"],
    )
    return pipe


if __name__ == "__main__":
    pipe = build()
    if "--local" in sys.argv:
        pipe.start_locally(run_pipeline_steps_locally=True)
        print("the better one:", pipe.task.artifacts["best"].get())
    else:
        pipe.start()
