"""Two functions of the script, each a task of its own."""

from foldline import Task

task = Task.init(project_name="corpus", task_name="function tasks")


def learn(lr, scale=1):
    Task.current_task().get_logger().report_single_value("learned", lr * scale)


first = task.create_function_task(func=learn, func_name="first", task_name="learn first", lr=0.5, scale=10)
second = task.create_function_task(func=learn, func_name="second", task_name="learn second", lr=0.25)
for made in (first, second):
    if made is not None:
        Task.enqueue(made, queue_name="corpus")
print("function tasks:", first.id, second.id)
