"""Whether what users ask for can be kept, read from the store when somebody asks."""

from collections.abc import Callable, Iterable, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class StoreCollector(Collector):
    """Writes to the database by how they ended."""

    def __init__(
        self,
        is_up: Callable[[], bool],
        writes: Callable[[], Mapping[str, int]],
        is_lost: Callable[[], bool],
        waiting: Callable[[], int],
    ) -> None:
        """Prepare a collector.

        Args:
            is_up: Whether the last write worked.
            writes: How many there were, by how they ended.
            is_lost: Whether something was lost that may not be known again.
            waiting: How many changes wait to be written.
        """
        self._is_up, self._writes, self._is_lost = is_up, writes, is_lost
        self._waiting = waiting

    def collect(self) -> Iterable[Metric]:
        """All families."""
        yield GaugeMetricFamily(
            "plimsoll_store_up",
            "1 while the database can be written; 0: changes are refused, all else goes on.",
            value=float(self._is_up()),
        )
        yield GaugeMetricFamily(
            "plimsoll_store_lost",
            "1 while Envoys keep what they hold, as replicas may be missing from the database.",
            value=float(self._is_lost()),
        )
        yield GaugeMetricFamily(
            "plimsoll_store_queue_depth",
            "Changes that wait to be written to the database.",
            value=self._waiting(),
        )
        writes = CounterMetricFamily(
            "plimsoll_store_writes", "Writes to the database, by how they ended.", labels=["result"]
        )
        for result, count in self._writes().items():
            writes.add_metric((result,), count)
        yield writes
