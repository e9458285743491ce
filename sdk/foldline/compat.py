"""Keyword arguments that ClearML has and Foldline does not need: accepted by name, said once in a debug line."""

import logging
from typing import Any, Final

from foldline.errors import NotSupported

log = logging.getLogger("foldline")

# Where, which, its default, and why nothing is lost.
IGNORED: Final[dict[str, dict[str, tuple[Any, str]]]] = {
    "Task.init": {
        "reuse_last_task_id": (True, "each start of a script is a task of its own, or a numbered attempt of one"),
        "auto_connect_frameworks": (True, "nothing is patched into other libraries"),
        "auto_resource_monitoring": (True, "an agent watches its processes itself"),
        "deferred_init": (False, "the first answer takes milliseconds"),
    },
    "Task.create": {
        "add_task_init_call": (True, "a script needs no Task.init to be run"),
        "force_single_script_file": (False, "the project's files travel as a snapshot"),
        "detect_repository": (True, "the project's files travel as a snapshot"),
    },
    "Task.get_task": {"allow_archived": (True, "nothing is archived")},
    "Task.get_tasks": {"allow_archived": (True, "nothing is archived")},
    "Task.get_parameters": {
        "backwards_compatibility": (True, "there is one form of names: Section/name"),
        "cast": (False, "values always keep their types"),
    },
    "Task.get_parameter": {"cast": (False, "values always keep their types")},
    "Task.get_parameters_as_dict": {"cast": (False, "values always keep their types")},
    "Task.delete_parameter": {"force": (False, "there is no force: the state allows it or not")},
    "Task.mark_started": {"force": (False, "there is no force: the state allows it or not")},
    "Task.mark_stopped": {"force": (False, "there is no force: the state allows it or not")},
    "Task.mark_stop_request": {"force": (False, "there is no force: the state allows it or not")},
    "Task.mark_completed": {
        "ignore_errors": (True, "an error is raised"),
        "force": (False, "there is no force: the state allows it or not"),
    },
    "Task.mark_failed": {
        "ignore_errors": (True, "an error is raised"),
        "force": (False, "there is no force: the state allows it or not"),
    },
    "Task.publish": {"ignore_errors": (True, "an error is raised")},
    "Task.reset": {
        "set_started_on_success": (False, "start it when it is to start"),
        "force": (False, "there is no force: the state allows it or not"),
    },
    "Task.upload_artifact": {
        "wait_on_upload": (False, "an upload is done when the call returns"),
        "retries": (0, "a server that is away is asked again by itself"),
    },
    "Task.flush": {"wait_for_uploads": (False, "an upload is done when its call returns")},
    "Logger.report_text": {
        "level": (logging.INFO, "the console has no levels"),
        "print_console": (True, "what is printed is what is kept"),
    },
    "Logger.flush": {"wait": (False, "it always waits")},
    "StorageManager.get_local_copy": {
        "cache_context": (None, "there is one cache"),
        "name": (None, "a file keeps the name it has"),
    },
    "PipelineController": {
        "pool_frequency": (0.2, "nothing is polled"),
        "auto_version_bump": (None, "deprecated in ClearML too"),
        "docker": (None, "a run needs no process of its own"),
        "docker_args": (None, "a run needs no process of its own"),
        "docker_bash_setup_script": (None, "a run needs no process of its own"),
        "packages": (None, "a run needs no process of its own"),
        "repo": (None, "a run needs no process of its own"),
        "repo_branch": (None, "a run needs no process of its own"),
        "repo_commit": (None, "a run needs no process of its own"),
        "skip_global_imports": (False, "a step imports its module whole"),
        "working_dir": (None, "a run needs no process of its own"),
        "enable_local_imports": (True, "a step imports the project's modules as the script does"),
    },
    "PipelineController.add_function_step": {
        "auto_connect_frameworks": (None, "nothing is patched into other libraries"),
        "auto_connect_arg_parser": (None, "arguments are passed by name"),
        "helper_functions": (None, "a step imports its module whole, helpers included"),
        "working_dir": (None, "a step's modules are found as in the script"),
    },
    "PipelineController.start": {"queue": ("services", "a run needs no process of its own; None leaves a draft")},
}


def ignored(where: str, /, **arguments: Any) -> None:
    """Say in one debug line which of `arguments` were given something else than their default."""
    table = IGNORED[where]
    said = [f"{name} ({table[name][1]})" for name, value in arguments.items() if value != table[name][0]]
    if said:
        log.debug("%s: not needed here: %s", where, "; ".join(said))


def refuse(where: str, why: str, /, **arguments: Any) -> None:
    """Raise NotSupported for the first of `arguments` that was given: leaving it out would change the outcome."""
    for name, value in arguments.items():
        if value:
            raise NotSupported(f"{where}: this version {why}, so {name} cannot be honoured; leave it out")
