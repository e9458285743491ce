"""Names, order and defaults are ClearML's (SDK 2.1.7), so that a script moves by changing its import."""

import enum
import importlib
import inspect
from collections.abc import Callable
from typing import Any

import pytest

import foldline
from foldline import compat
from foldline.artifacts import Artifact
from foldline.automation import PipelineController
from foldline.logger import Logger
from foldline.storage import StorageManager
from foldline.task import Task
from tests.sdk.processes import python

PIPELINE = {
    "__init__": "name, project, version=None, pool_frequency=0.2, add_pipeline_tags=False, target_project=True, "
    "auto_version_bump=None, abort_on_failure=False, add_run_number=True, retry_on_failure=None, docker=None, "
    "docker_args=None, docker_bash_setup_script=None, packages=None, repo=None, repo_branch=None, repo_commit=None, "
    "always_create_from_code=True, artifact_serialization_function=None, artifact_deserialization_function=None, "
    "output_uri=None, skip_global_imports=False, working_dir=None, enable_local_imports=True",
    "add_step": "name, base_task_id=None, parents=None, parameter_override=None, configuration_overrides=None, "
    "task_overrides=None, execution_queue=None, monitor_metrics=None, monitor_artifacts=None, monitor_models=None, "
    "time_limit=None, base_task_project=None, base_task_name=None, clone_base_task=True, continue_on_fail=False, "
    "pre_execute_callback=None, post_execute_callback=None, cache_executed_step=False, base_task_factory=None, "
    "retry_on_failure=None, status_change_callback=None, recursively_parse_parameters=False, output_uri=None, "
    "continue_behaviour=None, stage=None",
    "add_function_step": "name, function, function_kwargs=None, function_return=None, project_name=None, "
    "task_name=None, task_type=None, auto_connect_frameworks=None, auto_connect_arg_parser=None, packages=None, "
    "repo=None, repo_branch=None, repo_commit=None, helper_functions=None, docker=None, docker_args=None, "
    "docker_bash_setup_script=None, parents=None, execution_queue=None, monitor_metrics=None, "
    "monitor_artifacts=None, monitor_models=None, time_limit=None, continue_on_fail=False, "
    "pre_execute_callback=None, post_execute_callback=None, cache_executed_step=False, retry_on_failure=None, "
    "status_change_callback=None, tags=None, output_uri=None, draft=False, working_dir=None, "
    "continue_behaviour=None, stage=None",
    "set_default_execution_queue": "default_execution_queue",
    "add_parameter": "name, default=None, description=None, param_type=None",
    "get_parameters": "",
    "start": "queue='services', step_task_created_callback=None, step_task_completed_callback=None, wait=True",
    "start_locally": "run_pipeline_steps_locally=False",
    "create_draft": "",
    "wait": "timeout=None",
    "stop": "timeout=None, mark_failed=False, mark_aborted=False",
    "is_running": "",
    "is_successful": "fail_on_step_fail=True, fail_condition='all'",
    "elapsed": "",
    "get_pipeline_dag": "",
    "get_processed_nodes": "",
    "get_running_nodes": "",
    "add_tags": "tags",
}

TASK = {
    "init": "project_name=None, task_name=None, task_type='training', tags=None, reuse_last_task_id=True, "
    "continue_last_task=False, output_uri=None, auto_connect_arg_parser=True, auto_connect_frameworks=True, "
    "auto_resource_monitoring=True, auto_connect_streams=True, deferred_init=False",
    "create": "project_name=None, task_name=None, task_type=None, repo=None, branch=None, commit=None, script=None, "
    "working_directory=None, packages=None, requirements_file=None, docker=None, docker_args=None, "
    "docker_bash_setup_script=None, argparse_args=None, base_task_id=None, add_task_init_call=True, "
    "force_single_script_file=False, binary=None, module=None, detect_repository=True",
    "clone": "source_task=None, name=None, comment=None, parent=None, project=None",
    "get_task": "task_id=None, project_name=None, task_name=None, tags=None, allow_archived=True, task_filter=None",
    "get_tasks": "task_ids=None, project_name=None, task_name=None, tags=None, allow_archived=True, task_filter=None",
    "query_tasks": "project_name=None, task_name=None, tags=None, additional_return_fields=None, task_filter=None",
    "enqueue": "task, queue_name=None, queue_id=None, force=False",
    "get_num_enqueued_tasks": "queue_name=None, queue_id=None",
    "dequeue": "task",
    "current_task": "",
    "running_locally": "",
    "is_main_task": "",
    "connect": "mutable, name=None, ignore_remote_overrides=False",
    "connect_configuration": "configuration, name=None, description=None, ignore_remote_overrides=False",
    "get_parameters": "backwards_compatibility=True, cast=False",
    "set_parameters": "*args, **kwargs",
    "update_parameters": "*args, **kwargs",
    "set_parameter": "name, value, description=None, value_type=None",
    "get_parameter": "name, default=None, cast=False",
    "delete_parameter": "name, force=False",
    "get_parameters_as_dict": "cast=False",
    "set_parameters_as_dict": "dictionary",
    "get_configuration_object": "name",
    "get_configuration_object_as_dict": "name",
    "get_configuration_objects": "",
    "set_configuration_object": "name, config_text=None, description=None, config_type=None, config_dict=None",
    "upload_artifact": "name, artifact_object, metadata=None, delete_after_upload=False, auto_pickle=None, "
    "preview=None, wait_on_upload=False, extension_name=None, serialization_function=None, retries=0, sort_keys=True",
    "get_logger": "",
    "flush": "wait_for_uploads=False",
    "get_last_scalar_metrics": "",
    "get_last_iteration": "",
    "get_reported_scalars": "max_samples=0, x_axis='iter'",
    "get_reported_single_values": "",
    "get_reported_single_value": "name",
    "execute_remotely": "queue_name=None, clone=False, exit_process=True",
    "wait_for_status": "status=('completed', 'stopped', 'closed'), raise_on_status=('failed',), "
    "check_interval_sec=60.0",
    "get_status": "",
    "get_status_message": "",
    "reload": "",
    "mark_started": "force=False",
    "mark_stopped": "force=False, status_message=None",
    "mark_stop_request": "force=False, status_message=None",
    "mark_completed": "ignore_errors=True, status_message=None, force=False",
    "mark_failed": "ignore_errors=True, status_reason=None, status_message=None, force=False",
    "started": "ignore_errors=True, force=False",
    "publish": "ignore_errors=True",
    "reset": "set_started_on_success=False, force=False",
    "close": "",
    "add_tags": "tags",
    "remove_tags": "tags",
    "get_tags": "",
    "set_tags": "tags",
    "get_user_properties": "value_only=False",
    "set_user_properties": "*iterables, **properties",
    "set_name": "name",
    "rename": "new_name",
    "set_comment": "comment",
    "set_parent": "parent",
    "set_progress": "progress",
    "get_progress": "",
    "set_packages": "packages",
    "set_base_docker": "docker_cmd=None, docker_image=None, docker_arguments=None, docker_setup_bash_script=None",
    "get_project_name": "",
    "move_to_project": "new_project_id=None, new_project_name=None, system_tags=None",
    "export_task": "",
}

OTHERS = {
    (Artifact, "get"): "force_download=False, deserialization_function=None, block_unsafe_artifacts=False",
    (Artifact, "get_local_copy"): "extract_archive=True, raise_on_error=False, force_download=False",
    (Logger, "current_logger"): "",
    (Logger, "report_scalar"): "title, series, value, iteration",
    (Logger, "report_single_value"): "name, value",
    (Logger, "report_text"): "msg, level=20, print_console=True, *args, **kwargs",
    (Logger, "flush"): "wait=False",
    (StorageManager, "get_local_copy"): "remote_url, cache_context=None, extract_archive=True, name=None, "
    "force_download=False",
}

TABLE = (
    {(PipelineController, name): shape for name, shape in PIPELINE.items()}
    | {(Task, name): shape for name, shape in TASK.items()}
    | OTHERS
)


def shape_of(function: Callable[..., Any]) -> str:
    parameters = [one for one in inspect.signature(function).parameters.values() if one.name != "self"]
    return ", ".join(_shown(one) for one in parameters)


def _shown(parameter: inspect.Parameter) -> str:
    stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    if parameter.default is parameter.empty:
        return stars + parameter.name
    default = parameter.default.value if isinstance(parameter.default, enum.Enum) else parameter.default
    return f"{parameter.name}={default!r}"


@pytest.mark.parametrize(("owner", "name"), TABLE, ids=lambda part: getattr(part, "__name__", part))
def test_the_signature_is_clearmls(owner: type, name: str):
    assert shape_of(getattr(owner, name)) == TABLE[owner, name]


@pytest.mark.parametrize("where", compat.IGNORED)
def test_what_is_not_needed_is_a_parameter_with_that_default(where: str):
    owner, _, name = where.partition(".")
    function = getattr(getattr(foldline, owner), name or "__init__")
    parameters = inspect.signature(function).parameters
    for argument, (default, reason) in compat.IGNORED[where].items():
        assert parameters[argument].default == default
        assert reason


def test_an_unknown_keyword_is_a_type_error():
    with pytest.raises(TypeError, match="polling"):
        PipelineController(name="p", project="t", polling=1)  # pyright: ignore[reportCallIssue]


def test_what_is_not_needed_is_named_in_one_debug_line(caplog: pytest.LogCaptureFixture):
    with caplog.at_level("DEBUG", logger="foldline"):
        PipelineController(name="p", project="t", pool_frequency=0.5, docker="python:3.13")
    assert [record.message for record in caplog.records] == [
        "PipelineController: not needed here: pool_frequency (nothing is polled); "
        "docker (a run needs no process of its own)"
    ]


@pytest.mark.parametrize("statement", ["from foldline import {}", "from foldline.automation import {}"])
def test_names_are_where_clearmls_users_look(statement: str):
    names = {"foldline": foldline.__all__, "foldline.automation": ["PipelineController"]}
    module = statement.split()[1]
    for name in names[module]:
        assert getattr(importlib.import_module(module), name) is not None
    controller = importlib.import_module("foldline.automation.controller")
    assert controller.PipelineController is foldline.PipelineController
    assert Task.TaskTypes is foldline.TaskTypes
    assert Task.TaskTypes.data_processing.value == "data_processing"


def test_there_is_one_version():
    import tomllib
    from pathlib import Path

    project = tomllib.loads((Path(foldline.__file__).parents[1] / "pyproject.toml").read_text())
    assert project["project"]["version"] == foldline.__version__


def test_importing_the_package_imports_almost_nothing():
    code = "import sys; before = set(sys.modules); import foldline; print(*(set(sys.modules) - before))"
    loaded = set(python("-c", code).split())
    assert not loaded & {"httpx2", "logging", "argparse", "foldline.client", "foldline.task", "numpy"}
