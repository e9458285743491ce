"""Names, order and defaults are ClearML's (SDK 2.1.7), so that a script moves by changing its import."""

import enum
import importlib
import inspect
from collections.abc import Callable
from typing import Any

import pytest

import foldline
from foldline import automation, compat
from foldline.artifacts import Artifact
from foldline.automation import PipelineController, PipelineDecorator, TaskScheduler, TriggerScheduler
from foldline.automation.monitor import Monitor
from foldline.datasets import Dataset
from foldline.logger import Logger
from foldline.models import BaseModel, InputModel, Model, OutputModel
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
    "set_pipeline_execution_time_limit": "max_execution_minutes",
    "connect_configuration": "configuration, name=None, description=None",
    "update_execution_plot": "",
    "get_logger": "",
    "upload_artifact": "name, artifact_object, metadata=None, delete_after_upload=False, auto_pickle=None, "
    "preview=None, wait_on_upload=False, serialization_function=None, sort_keys=True",
    "upload_model": "model_name, model_local_path, upload_uri=None",
    "create": "project_name, task_name, repo=None, branch=None, commit=None, script=None, working_directory=None, "
    "packages=None, requirements_file=None, docker=None, docker_args=None, docker_bash_setup_script=None, "
    "argparse_args=None, force_single_script_file=False, version=None, add_run_number=True, binary=None, module=None, "
    "detect_repository=True",
    "clone": "pipeline_controller, name=None, comment=None, parent=None, project=None, version=None",
    "enqueue": "pipeline_controller, queue_name=None, queue_id=None, force=False",
    "get": "pipeline_id=None, pipeline_project=None, pipeline_name=None, pipeline_version=None, pipeline_tags=None, "
    "shallow_search=False",
}

DECORATOR = {
    "__init__": "name, project, version=None, pool_frequency=0.2, add_pipeline_tags=False, target_project=None, "
    "abort_on_failure=False, add_run_number=True, retry_on_failure=None, docker=None, docker_args=None, "
    "docker_bash_setup_script=None, packages=None, repo=None, repo_branch=None, repo_commit=None, "
    "artifact_serialization_function=None, artifact_deserialization_function=None, output_uri=None, "
    "skip_global_imports=False, working_dir=None, enable_local_imports=True",
    "component": "_func=None, return_values=('return_object',), name=None, cache=False, packages=None, parents=None, "
    "execution_queue=None, continue_on_fail=False, docker=None, docker_args=None, docker_bash_setup_script=None, "
    "task_type=None, auto_connect_frameworks=None, auto_connect_arg_parser=None, repo=None, repo_branch=None, "
    "repo_commit=None, helper_functions=None, monitor_metrics=None, monitor_artifacts=None, monitor_models=None, "
    "retry_on_failure=None, pre_execute_callback=None, post_execute_callback=None, status_change_callback=None, "
    "tags=None, output_uri=None, draft=False, working_dir=None, continue_behaviour=None, stage=None",
    "pipeline": "_func=None, name, project, version=None, return_value=None, default_queue=None, pool_frequency=0.2, "
    "add_pipeline_tags=False, target_project=None, abort_on_failure=False, pipeline_execution_queue='services', "
    "multi_instance_support=False, add_run_number=True, args_map=None, start_controller_locally=False, "
    "retry_on_failure=None, docker=None, docker_args=None, docker_bash_setup_script=None, packages=None, repo=None, "
    "repo_branch=None, repo_commit=None, artifact_serialization_function=None, artifact_deserialization_function=None, "
    "output_uri=None, skip_global_imports=False, working_dir=None, enable_local_imports=True",
    "set_default_execution_queue": "default_execution_queue",
    "run_locally": "",
    "debug_pipeline": "",
    "get_current_pipeline": "",
    "wait_for_multi_pipelines": "",
    "stop": "timeout=None, mark_failed=False, mark_aborted=False",
}

TASK = {
    "init": "project_name=None, task_name=None, task_type='training', tags=None, "
    "reuse_last_task_id=True, continue_last_task=False, output_uri=None, "
    "auto_connect_arg_parser=True, auto_connect_frameworks=True, "
    "auto_resource_monitoring=True, auto_connect_streams=True, deferred_init=False",
    "create": "project_name=None, task_name=None, task_type=None, repo=None, branch=None, "
    "commit=None, script=None, working_directory=None, packages=None, "
    "requirements_file=None, docker=None, docker_args=None, "
    "docker_bash_setup_script=None, argparse_args=None, base_task_id=None, "
    "add_task_init_call=True, force_single_script_file=False, binary=None, "
    "module=None, detect_repository=True",
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
    "upload_artifact": "name, artifact_object, metadata=None, delete_after_upload=False, "
    "auto_pickle=None, preview=None, wait_on_upload=False, extension_name=None, "
    "serialization_function=None, retries=0, sort_keys=True",
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
    "stopped": "ignore_errors=True, force=False, status_reason=None, status_message=None",
    "stop_request": "ignore_errors=True, force=False, status_message=None",
    "completed": "ignore_errors=True",
    "publish_on_completion": "enable=True",
    "set_model_label_enumeration": "enumeration=None",
    "get_base_docker": "",
    "delete_artifacts": "artifact_names, raise_on_errors=True, delete_from_storage=True, silent_on_errors=False",
    "get_labels_enumeration": "",
    "get_random_seed": "",
    "set_random_seed": "random_seed",
    "set_project": "project_id=None, project_name=None",
    "set_system_tags": "tags",
    "get_system_tags": "",
    "set_task_type": "task_type",
    "set_archived": "archive",
    "get_archived": "",
    "set_initial_iteration": "offset=0",
    "get_initial_iteration": "",
    "get_output_log_web_page": "",
    "get_all_reported_scalars": "x_axis='iter'",
    "get_reported_plots": "max_iterations=None",
    "get_reported_console_output": "number_of_reports=1",
    "get_projects": "**kwargs",
    "get_project_id": "project_name, search_hidden=True",
    "add_requirements": "package_name, package_version=None",
    "ignore_requirements": "package_name",
    "force_requirements_env_freeze": "force=True, requirements_file=None",
    "force_store_standalone_script": "force=True",
    "get_all": "session=None, log=None, **kwargs",
    "get_task_output_log_web_page": "task_id, project_id=None, app_server_host=None",
    "get_http_router": "",
    "request_external_endpoint": "port, protocol='http', wait=False, wait_interval_seconds=3.0, "
    "wait_timeout_seconds=90.0, static_route=None, endpoint_name=None",
    "wait_for_external_endpoint": "wait_interval_seconds=3.0, wait_timeout_seconds=90.0, protocol='http', "
    "endpoint_name=None",
    "list_external_endpoints": "protocol=None",
    "get_by_name": "task_name",
    "set_repo": "repo=None, branch=None, commit=None",
    "get_requirements": "",
    "connect_label_enumeration": "enumeration, ignore_remote_overrides=False",
    "launch_multi_node": "total_num_nodes, port=29500, queue=None, wait=False, addr=None, devices=None, "
    "hide_children=False",
    "delete": "delete_artifacts_and_models=True, skip_models_used_by_other_tasks=True, "
    "raise_on_error=False, callback=None",
    "register_artifact": "name, artifact, metadata=None, uniqueness_columns=True",
    "unregister_artifact": "name",
    "get_registered_artifacts": "",
    "is_current_task": "",
    "set_model_config": "config_text=None, config_dict=None",
    "get_model_config_text": "",
    "get_model_config_dict": "",
    "get_script": "",
    "set_script": "repository=None, branch=None, commit=None, diff=None, working_dir=None, "
    "entry_point=None, binary=None",
    "delete_user_properties": "*iterables",
    "set_resource_monitor_iteration_timeout": "seconds_from_start=30.0, wait_for_first_iteration_to_start_sec=180.0, "
    "max_wait_for_first_iteration_to_start_sec=1800.0",
    "create_function_task": "func, func_name=None, task_name=None, **kwargs",
    "update_task": "task_data",
    "register_abort_callback": "callback_function, callback_execution_timeout=30.0",
    "import_task": "task_data, target_task=None, update=False",
    "set_offline": "offline_mode=False",
    "is_offline": "",
    "import_offline_session": "session_folder_zip, previous_task_id=None, iteration_offset=0",
    "set_credentials": "api_host=None, web_host=None, files_host=None, key=None, secret=None, store_conf_file=False",
    "debug_simulate_remote_task": "task_id, reset_task=False",
    "get_executed_queue": "return_name=False",
}

LOGGER = {
    "current_logger": "",
    "report_scalar": "title, series, value, iteration",
    "report_single_value": "name, value",
    "report_text": "msg, level=20, print_console=True, *args, **kwargs",
    "report_vector": "title, series, values, iteration=None, labels=None, xlabels=None, xaxis=None, yaxis=None, "
    "mode=None, extra_layout=None",
    "report_histogram": "title, series, values, iteration=None, labels=None, xlabels=None, xaxis=None, yaxis=None, "
    "mode=None, data_args=None, extra_layout=None",
    "report_table": "title, series, iteration=None, table_plot=None, csv=None, url=None, extra_layout=None, "
    "extra_data=None",
    "report_line_plot": "title, series, xaxis, yaxis, mode='lines', iteration=None, reverse_xaxis=False, comment=None, "
    "extra_layout=None",
    "report_scatter2d": "title, series, scatter, iteration=None, xaxis=None, yaxis=None, labels=None, mode='lines', "
    "comment=None, extra_layout=None",
    "report_scatter3d": "title, series, scatter, iteration=None, xaxis=None, yaxis=None, zaxis=None, labels=None, "
    "mode='markers', fill=False, comment=None, extra_layout=None",
    "report_confusion_matrix": "title, series, matrix, iteration=None, xaxis=None, yaxis=None, xlabels=None, "
    "ylabels=None, yaxis_reversed=False, comment=None, extra_layout=None",
    "report_matrix": "title, series, matrix, iteration=None, xaxis=None, yaxis=None, xlabels=None, ylabels=None, "
    "yaxis_reversed=False, extra_layout=None",
    "report_surface": "title, series, matrix, iteration=None, xaxis=None, yaxis=None, zaxis=None, xlabels=None, "
    "ylabels=None, camera=None, comment=None, extra_layout=None",
    "report_image": "title, series, iteration=None, local_path=None, image=None, matrix=None, max_image_history=None, "
    "delete_after_upload=False, url=None",
    "report_image_and_upload": "title, series, iteration=None, path=None, matrix=None, max_image_history=None, "
    "delete_after_upload=False",
    "report_media": "title, series, iteration=None, local_path=None, stream=None, file_extension=None, "
    "max_history=None, delete_after_upload=False, url=None",
    "report_plotly": "title, series, figure, iteration=None",
    "report_matplotlib_figure": "title, series, figure, iteration=None, report_image=False, report_interactive=True",
    "SeriesInfo": "name, data, labels=None",
    "flush": "wait=False",
    "get_flush_period": "",
    "set_flush_period": "period",
    "capture_logging": "",
    "set_default_upload_destination": "uri",
    "get_default_upload_destination": "",
    "set_default_debug_sample_history": "max_history",
    "get_default_debug_sample_history": "",
    "tensorboard_auto_group_scalars": "group_scalars=False",
    "tensorboard_single_series_per_graph": "single_series=False",
    "matplotlib_force_report_non_interactive": "force",
    "set_reporting_nan_value": "value, warn_period=1000",
    "set_reporting_inf_value": "value, warn_period=1000",
}

DATASET = {
    "add_tags": "tags",
    "add_files": "path, wildcard=None, local_base_folder=None, dataset_path=None, recursive=True, "
    "verbose=False, max_workers=None",
    "add_external_files": "source_url, wildcard=None, dataset_path=None, recursive=True, verbose=False, "
    "max_workers=None, read_hash=False",
    "remove_files": "dataset_path=None, recursive=True, verbose=False",
    "sync_folder": "local_path, dataset_path=None, verbose=False",
    "upload": "show_progress=True, verbose=False, output_url=None, compression=None, "
    "chunk_size=None, max_workers=None, retries=3, preview=True, "
    "upload_as_external_links=False",
    "finalize": "verbose=False, raise_on_error=True, auto_upload=False",
    "set_metadata": "metadata, metadata_name='metadata', ui_visible=True",
    "get_metadata": "metadata_name='metadata'",
    "set_description": "description",
    "publish": "raise_on_error=True",
    "is_final": "",
    "get_local_copy": "use_soft_links=None, part=None, num_parts=None, raise_on_error=True, "
    "max_workers=None, files=None",
    "get_mutable_local_copy": "target_folder, overwrite=False, part=None, num_parts=None, raise_on_error=True, "
    "max_workers=None",
    "list_files": "dataset_path=None, recursive=True, dataset_id=None",
    "list_removed_files": "dataset_id=None",
    "list_modified_files": "dataset_id=None",
    "list_added_files": "dataset_id=None",
    "get_dependency_graph": "",
    "verify_dataset_hash": "local_copy_path=None, skip_hash=False, verbose=False",
    "get_default_storage": "",
    "create": "dataset_name=None, dataset_project=None, dataset_tags=None, parent_datasets=None, "
    "use_current_task=False, dataset_version=None, output_uri=None, description=None",
    "delete": "dataset_id=None, dataset_project=None, dataset_name=None, force=False, "
    "dataset_version=None, entire_dataset=False, shallow_search=False, delete_files=True, "
    "delete_external_files=False",
    "rename": "new_dataset_name, dataset_project, dataset_name",
    "move_to_project": "new_dataset_project, dataset_project, dataset_name",
    "get": "dataset_id=None, dataset_project=None, dataset_name=None, dataset_tags=None, "
    "only_completed=False, only_published=False, include_archived=False, "
    "auto_create=False, writable_copy=False, dataset_version=None, alias=None, "
    "overridable=False, shallow_search=False, silence_alias_warnings=False, **kwargs",
    "get_logger": "",
    "get_num_chunks": "include_parents=True",
    "squash": "dataset_name, dataset_ids=None, dataset_project_name_pairs=None, output_url=None, "
    "close_squashed_dataset=True",
    "list_datasets": "dataset_project=None, partial_name=None, tags=None, ids=None, only_completed=True, "
    "recursive_project_search=True, include_archived=True",
    "is_dirty": "",
}

BASE_MODEL = {
    "get_weights": "raise_on_error=False, force_download=False, extract_archive=False",
    "get_weights_package": "return_path=False, raise_on_error=False, force_download=False, extract_archive=True",
    "publish": "",
    "archive": "",
    "unarchive": "",
    "set_metadata": "key, value, v_type=None",
    "get_metadata": "key",
    "get_metadata_casted": "key",
    "get_all_metadata": "",
    "get_all_metadata_casted": "",
    "set_all_metadata": "metadata, replace=True",
}

MODEL = {
    "__init__": "model_id",
    "get_local_copy": "extract_archive=None, raise_on_error=False, force_download=False",
    "query_models": "project_name=None, model_name=None, tags=None, only_published=False, "
    "include_archived=False, max_results=None, metadata=None",
    "remove": "model, delete_weights_file=True, force=False, raise_on_errors=False",
}

INPUT_MODEL = {
    "import_model": "weights_url, config_text=None, config_dict=None, label_enumeration=None, name=None, "
    "project=None, tags=None, comment=None, is_package=False, create_as_published=False, "
    "framework=None",
    "load_model": "weights_url, load_archived=False",
    "empty": "config_text=None, config_dict=None, label_enumeration=None",
    "__init__": "model_id=None, name=None, project=None, tags=None, only_published=False",
    "connect": "task, name=None, ignore_remote_overrides=False",
}

OUTPUT_MODEL = {
    "__init__": "task=None, config_text=None, config_dict=None, label_enumeration=None, name=None, "
    "tags=None, comment=None, framework=None, base_model_id=None",
    "connect": "task, name=None, **kwargs",
    "set_upload_destination": "uri",
    "update_weights": "weights_filename=None, upload_uri=None, target_filename=None, auto_delete_file=True, "
    "register_uri=None, iteration=None, update_comment=True, is_package=False, "
    "async_enable=True",
    "update_weights_package": "weights_filenames=None, weights_path=None, upload_uri=None, target_filename=None, "
    "auto_delete_file=True, iteration=None, async_enable=True",
    "update_design": "config_text=None, config_dict=None",
    "update_labels": "labels",
    "wait_for_uploads": "timeout=None, max_num_uploads=None",
    "set_default_upload_uri": "output_uri",
}

STORAGE = {
    "get_local_copy": "remote_url, cache_context=None, extract_archive=True, name=None, force_download=False",
    "upload_file": "local_file, remote_url, wait_for_upload=True, retries=None",
    "set_cache_file_limit": "cache_file_limit, cache_context=None",
    "get_files_server": "",
    "upload_folder": "local_folder, remote_url, match_wildcard=None, retries=None",
    "download_file": "remote_url, local_folder=None, overwrite=False, skip_zero_size_check=False, silence_errors=False",
    "exists_file": "remote_url",
    "get_file_size_bytes": "remote_url, silence_errors=False",
    "download_folder": "remote_url, local_folder=None, match_wildcard=None, overwrite=False, "
    "skip_zero_size_check=False, silence_errors=False, max_workers=None",
    "list": "remote_url, return_full_path=False, with_metadata=False, read_hash=False",
    "get_metadata": "remote_url, return_full_path=False, read_hash=False",
    "set_report_upload_chunk_size": "chunk_size_mb",
    "set_report_download_chunk_size": "chunk_size_mb",
}

SCHEDULER = {
    "__init__": "sync_frequency_minutes=15, force_create_task_name=None, force_create_task_project=None",
    "add_task": "schedule_task_id=None, schedule_function=None, queue=None, name=None, target_project=None, "
    "minute=None, hour=None, day=None, weekdays=None, month=None, year=None, limit_execution_time=None, "
    "single_instance=False, recurring=True, execute_immediately=False, reuse_task=False, task_parameters=None, "
    "task_overrides=None",
    "get_scheduled_tasks": "",
    "remove_task": "task_id",
    "start": "",
    "start_remotely": "queue='services'",
}

_TRIGGERED = (
    "name=None, target_project=None, add_tag=True, single_instance=False, reuse_task=False, task_parameters=None, "
    "task_overrides=None"
)
_OF_AN_OBJECT = (
    "schedule_task_id=None, schedule_queue=None, schedule_function=None, trigger_project=None, trigger_name=None, "
    f"trigger_on_publish=None, trigger_on_tags=None, trigger_on_archive=None, trigger_required_tags=None, {_TRIGGERED}"
)
TRIGGER = {
    "__init__": "pooling_frequency_minutes=3.0, sync_frequency_minutes=15, force_create_task_name=None, "
    "force_create_task_project=None",
    "add_model_trigger": _OF_AN_OBJECT,
    "add_dataset_trigger": _OF_AN_OBJECT,
    "add_task_trigger": "schedule_task_id=None, schedule_queue=None, schedule_function=None, trigger_project=None, "
    "trigger_name=None, trigger_on_tags=None, trigger_on_status=None, trigger_exclude_dev_tasks=None, "
    "trigger_on_metric=None, trigger_on_variant=None, trigger_on_threshold=None, trigger_on_sign=None, "
    f"trigger_required_tags=None, {_TRIGGERED}",
    "get_triggers": "",
    "start": "",
    "start_remotely": "queue='services'",
}

MONITOR = {
    "__init__": "",
    "set_projects": "project_names=None, project_names_re=None, project_ids=None",
    "set_task_name_filter": "task_name_filter=None",
    "monitor": "pool_period=15.0",
    "monitor_step": "",
    "get_query_parameters": "",
    "process_task": "task",
}

OTHERS = {
    (Artifact, "get"): "force_download=False, deserialization_function=None, block_unsafe_artifacts=False",
    (Artifact, "get_local_copy"): "extract_archive=True, raise_on_error=False, force_download=False",
}

TABLE = (
    {(PipelineController, name): shape for name, shape in PIPELINE.items()}
    | {(PipelineDecorator, name): shape for name, shape in DECORATOR.items()}
    | {(Task, name): shape for name, shape in TASK.items()}
    | {(Logger, name): shape for name, shape in LOGGER.items()}
    | {(Dataset, name): shape for name, shape in DATASET.items()}
    | {(BaseModel, name): shape for name, shape in BASE_MODEL.items()}
    | {(Model, name): shape for name, shape in MODEL.items()}
    | {(InputModel, name): shape for name, shape in INPUT_MODEL.items()}
    | {(OutputModel, name): shape for name, shape in OUTPUT_MODEL.items()}
    | {(StorageManager, name): shape for name, shape in STORAGE.items()}
    | {(TaskScheduler, name): shape for name, shape in SCHEDULER.items()}
    | {(TriggerScheduler, name): shape for name, shape in TRIGGER.items()}
    | {(Monitor, name): shape for name, shape in MONITOR.items()}
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
        PipelineController(name="p", project="t", pool_frequency=0.5, skip_global_imports=True)
    assert [record.message for record in caplog.records] == [
        "PipelineController: not needed here: pool_frequency (nothing is polled); "
        "skip_global_imports (a step imports its module whole)"
    ]


@pytest.mark.parametrize("statement", ["from foldline import {}", "from foldline.automation import {}"])
def test_names_are_where_clearmls_users_look(statement: str):
    names = {"foldline": foldline.__all__, "foldline.automation": automation.__all__}
    module = statement.split()[1]
    for name in names[module]:
        assert getattr(importlib.import_module(module), name) is not None
    controller = importlib.import_module("foldline.automation.controller")
    assert controller.PipelineController is foldline.PipelineController
    assert controller.PipelineDecorator is foldline.PipelineDecorator
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
