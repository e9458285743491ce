"""Train again whenever a dataset of the project is finalized.

python ../custom/train.py    # once: makes the template
python on_new_data.py        # an agent of `services` watches from then on
"""

from foldline import Task
from foldline.automation import TriggerScheduler

if __name__ == "__main__":
    triggers = TriggerScheduler(
        pooling_frequency_minutes=1, force_create_task_project="custom", force_create_task_name="on new data"
    )
    triggers.add_dataset_trigger(
        schedule_task_id=Task.get_task(project_name="custom", task_name="train tree"),
        schedule_queue="default",
        name="new data",
        trigger_project="custom",
        task_parameters={"General/dataset_id": "${dataset.id}"},
    )
    triggers.start_remotely(queue="services")
