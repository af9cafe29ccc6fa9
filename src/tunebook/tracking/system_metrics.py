"""Sample CPU, memory, disk, network and GPU while a run is running."""

import logging
import threading
from collections.abc import Callable
from typing import Any

log = logging.getLogger(__name__)

EVERY_S = 10.0
BEFORE_S = 1.0  # before MLflow is imported, so that training has begun by then


class SystemMetrics(threading.Thread):
    """Sample the machine every ten seconds.

    record: called with a dict of metrics named `system/...`, and with the number of the sample.
    first: the number of the first sample.
    """

    def __init__(self, record: Callable[[dict[str, float], int], None], first: int) -> None:
        super().__init__(name="system metrics", daemon=True)
        self.record, self.sample = record, first
        self._stop_now = threading.Event()

    def run(self) -> None:
        """Sample until `close` is called."""
        if self._stop_now.wait(BEFORE_S):
            return
        monitors = _monitors()
        while not self._stop_now.wait(EVERY_S):
            figures: dict[str, float] = {}
            for monitor in monitors:
                monitor.collect_metrics()
                figures |= monitor.aggregate_metrics()
                monitor.clear_metrics()
            self.record(
                {f"system/{name}": float(value) for name, value in figures.items()}, self.sample
            )
            self.sample += 1

    def close(self) -> None:
        """Stop sampling."""
        self._stop_now.set()
        self.join(timeout=1)


def _monitors() -> list[Any]:
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
    from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor
    from mlflow.system_metrics.metrics.rocm_monitor import ROCMMonitor

    found: list[Any] = []
    for monitor in (CPUMonitor, DiskMonitor, NetworkMonitor):
        found.append(monitor())
    for gpu in (GPUMonitor, ROCMMonitor):
        try:
            found.append(gpu())
        except Exception as error:
            # There is no such GPU, or its library is missing: MLflow raises several kinds of error.
            log.debug("no GPU metrics: %s", error)
    return found
