"""Prepares here, trains elsewhere: what stands below execute_remotely runs on an agent only."""

import argparse

from foldline import Task

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=2, help="how often")
parser.add_argument("--lr", type=float, default=0.1)
parser.add_argument("--fast", action="store_true")
parser.add_argument("--sizes", nargs="+", type=int, default=[1, 2])
args = parser.parse_args()

task = Task.init("corpus", "execute remotely", auto_connect_frameworks={"pytorch": False})
logger = task.get_logger()
task.upload_artifact("prepared", {"rows": 3})
if Task.running_locally():
    task.set_comment("prepared here")
task.execute_remotely(queue_name="corpus", exit_process=True)

for epoch in range(args.epochs):
    logger.report_scalar("accuracy", "test", iteration=epoch, value=epoch * args.lr)
task.upload_artifact("seen", vars(args))
