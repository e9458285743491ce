"""What a task reports, while it runs and afterwards."""

from foldline import compat, registered
from foldline.logger import Logger, logger_of
from foldline.modelled import WithModels
from foldline.reporting import WithReports


class WithOutputs(WithReports, WithModels):
    """Task's methods about metrics, the way out beside the way back, and models."""

    def get_logger(self) -> Logger:
        return logger_of(self._client, self.id)

    def flush(self, wait_for_uploads: bool = False) -> bool:
        """Send what was reported; whether it has arrived."""
        compat.ignored("Task.flush", wait_for_uploads=wait_for_uploads)
        registered.upload(self.id)
        return self.get_logger().flush()
