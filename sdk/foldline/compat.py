"""Keyword arguments that ClearML has and Foldline does not need: accepted by name, said once in a debug line."""

import logging
from typing import Any, Final

from foldline.errors import NotSupported

log = logging.getLogger("foldline")

# Of a run without callbacks; with them it is what the process that calls them is made of.
HOSTLESS: Final = "only callbacks need a process of the pipeline's own"

# Where, which, its default, and why nothing is lost.
IGNORED: Final[dict[str, dict[str, tuple[Any, str]]]] = {
    "Task.init": {
        "auto_resource_monitoring": (True, "an agent watches its processes itself"),
        "deferred_init": (False, "the first answer takes milliseconds"),
    },
    "Task.create": {
        "add_task_init_call": (True, "a script needs no Task.init to be run"),
        "force_single_script_file": (False, "the project's files travel as a snapshot"),
        "detect_repository": (True, "the project's files travel as a snapshot"),
    },
    "Task.get_parameters": {
        "backwards_compatibility": (True, "there is one form of names: Section/name"),
        "cast": (False, "values always keep their types"),
    },
    "Task.get_parameter": {"cast": (False, "values always keep their types")},
    "Task.get_parameters_as_dict": {"cast": (False, "values always keep their types")},
    "Task.delete_parameter": {"force": (False, "there is no force: the state allows it or not")},
    "Task.delete": {
        "delete_artifacts_and_models": (True, "files may be shared, and none is erased"),
        "skip_models_used_by_other_tasks": (True, "files may be shared, and none is erased"),
        "callback": (None, "files may be shared, and none is erased"),
    },
    "Task.get_project_id": {"search_hidden": (True, "no project is hidden")},
    "Task.register_artifact": {"uniqueness_columns": (True, "the table is stored whole, rows that repeat included")},
    "Task.upload_artifact": {
        "wait_on_upload": (False, "an upload is done when the call returns"),
        "retries": (0, "a server that is away is asked again by itself"),
    },
    "Task.delete_artifacts": {
        "delete_from_storage": (True, "bytes are shared by content, and stay for who else has them"),
    },
    "Task.flush": {"wait_for_uploads": (False, "an upload is done when its call returns")},
    "Logger.report_text": {"level": (logging.INFO, "the console has no levels")},
    "Logger.report_matplotlib_figure": {
        "report_image": (False, "a figure is always kept as a picture"),
        "report_interactive": (True, "a figure is always kept as a picture"),
    },
    "Logger.flush": {"wait": (False, "it always waits")},
    "Logger.tensorboard_auto_group_scalars": {"group_scalars": (False, "TensorBoard is not read")},
    "Logger.tensorboard_single_series_per_graph": {"single_series": (False, "TensorBoard is not read")},
    "StorageManager.get_local_copy": {
        "cache_context": (None, "there is one cache"),
        "name": (None, "a file keeps the name it has"),
    },
    "StorageManager.upload_file": {
        "wait_for_upload": (True, "an upload is done when the call returns"),
        "retries": (None, "a failed upload is an error: call it again"),
    },
    "StorageManager.upload_folder": {"retries": (None, "a failed upload is an error: call it again")},
    "StorageManager.set_cache_file_limit": {"cache_context": (None, "there is one cache")},
    "Model.remove": {
        "delete_weights_file": (True, "bytes are shared by content, and stay for who else has them"),
        "force": (False, "nothing is taken from the tasks that use it"),
    },
    "OutputModel.update_weights": {"async_enable": (True, "an upload is done when the call returns")},
    "OutputModel.update_weights_package": {"async_enable": (True, "an upload is done when the call returns")},
    "OutputModel.wait_for_uploads": {
        "timeout": (None, "an upload is done when its call returns"),
        "max_num_uploads": (None, "an upload is done when its call returns"),
    },
    "Dataset.add_external_files": {"max_workers": (None, "addresses are asked one after another")},
    "Dataset.upload": {
        "compression": (None, "files are stored as they are"),
        "retries": (3, "a server that is away is asked again by itself"),
        "preview": (True, "the manifest's preview is a list of files"),
    },
    "Dataset.get": {
        "shallow_search": (False, "all versions are looked at"),
        "silence_alias_warnings": (False, "there are no such warnings"),
    },
    "Dataset.get_local_copy": {"use_soft_links": (None, "files are shared between copies by hard links")},
    "Dataset.delete": {
        "shallow_search": (False, "all versions are looked at"),
        "delete_files": (True, "bytes are shared by content, and stay for who else has them"),
    },
    "PipelineController": {
        "pool_frequency": (0.2, "nothing is polled"),
        "auto_version_bump": (None, "deprecated in ClearML too"),
        "docker": (None, HOSTLESS),
        "docker_args": (None, HOSTLESS),
        "docker_bash_setup_script": (None, HOSTLESS),
        "packages": (None, HOSTLESS),
        "repo": (None, HOSTLESS),
        "repo_branch": (None, HOSTLESS),
        "repo_commit": (None, HOSTLESS),
        "skip_global_imports": (False, "a step imports its module whole"),
        "working_dir": (None, HOSTLESS),
        "enable_local_imports": (True, "a step imports the project's modules as the script does"),
    },
    "PipelineController.add_function_step": {
        "auto_connect_frameworks": (None, "nothing is patched into other libraries"),
        "auto_connect_arg_parser": (None, "arguments are passed by name"),
    },
    "PipelineController.start": {"queue": ("services", f"{HOSTLESS}; None leaves a draft")},
    "PipelineController.clone": {
        "parent": (None, "a run's parent is the run that it is a step of"),
        "version": (None, "a clone has the version of its definition"),
    },
    "PipelineController.create": {"add_run_number": (True, "the runs that its script starts are numbered")},
    "PipelineController.upload_artifact": {"wait_on_upload": (False, "an upload is done when the call returns")},
    "PipelineDecorator.component": {
        "auto_connect_frameworks": (None, "nothing is patched into other libraries"),
        "auto_connect_arg_parser": (None, "arguments are passed by name"),
    },
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
