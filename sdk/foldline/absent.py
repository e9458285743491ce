"""What ClearML's Task has and Foldline does not: said in a sentence, rather than left out in silence."""

import logging
from collections.abc import Sequence
from typing import Any, NoReturn

from foldline.errors import NotSupported
from foldline.handle import TaskHandle

log = logging.getLogger("foldline")


class WithoutSome(TaskHandle):
    """Task's methods that say what to do instead."""

    @classmethod
    def set_credentials(
        cls,
        api_host: str | None = None,
        web_host: str | None = None,
        files_host: str | None = None,
        key: str | None = None,
        secret: str | None = None,
        store_conf_file: bool = False,
    ) -> None:
        """Nothing: a ClearML server's address and keys open no Foldline server."""
        log.warning("Task.set_credentials names a ClearML server: FOLDLINE_URL and FOLDLINE_TOKEN say where to go here")

    def launch_multi_node(
        self,
        total_num_nodes: int,
        port: int | None = 29500,
        queue: str | None = None,
        wait: bool = False,
        addr: str | None = None,
        devices: int | Sequence[int] | None = None,
        hide_children: bool = False,
    ) -> NoReturn:
        raise NotSupported(
            "nodes that must run at the same moment cannot be claimed together yet: "
            "clone the task once per node, enqueue the clones, and let them meet at an address of your own"
        )

    def get_http_router(self) -> NoReturn:
        raise _no_endpoints()

    def request_external_endpoint(
        self,
        port: int,
        protocol: str = "http",
        wait: bool = False,
        wait_interval_seconds: float = 3.0,
        wait_timeout_seconds: float = 90.0,
        static_route: str | None = None,
        endpoint_name: str | None = None,
    ) -> NoReturn:
        raise _no_endpoints()

    def wait_for_external_endpoint(
        self,
        wait_interval_seconds: float = 3.0,
        wait_timeout_seconds: float = 90.0,
        protocol: str | None = "http",
        endpoint_name: str | None = None,
    ) -> NoReturn:
        raise _no_endpoints()

    def list_external_endpoints(self, protocol: str | None = None) -> list[Any]:
        """None are ever made."""
        return []

    @classmethod
    def set_resource_monitor_iteration_timeout(
        cls,
        seconds_from_start: float = 30.0,
        wait_for_first_iteration_to_start_sec: float = 180.0,
        max_wait_for_first_iteration_to_start_sec: float = 1800.0,
    ) -> None:
        """Nothing: no curve of the machine's load waits for a first iteration."""


def _no_endpoints() -> NotSupported:
    return NotSupported("a task has no address of its own here: serve from the machine's own address and port")
