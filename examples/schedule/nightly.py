"""Train every night at 3:00 UTC. The schedule stands on the scheduler's task, where it may be edited while it runs.

python ../custom/train.py    # once: makes the template
python nightly.py            # an agent of `services` keeps the schedule from then on
"""

from foldline import Task
from foldline.automation import TaskScheduler

if __name__ == "__main__":
    scheduler = TaskScheduler(force_create_task_project="custom", force_create_task_name="nightly")
    scheduler.add_task(
        schedule_task_id=Task.get_task(project_name="custom", task_name="train tree"),
        queue="default",
        name="every night",
        day=1,
        hour=3,
        single_instance=True,
        limit_execution_time=2,
    )
    scheduler.start_remotely(queue="services")
