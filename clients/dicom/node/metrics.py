"""Every metric of the node; docs/node.md lists them.

No label takes a value from outside: series do not grow, and no patient's name is kept.
"""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from clients.dicom.node import upkeep
from clients.dicom.node.spool import Spool

# A second series for each of a counter, with the time of its start.
disable_created_metrics()  # type: ignore[no-untyped-call]

REGISTRY = CollectorRegistry()
RECEIVED = Counter(
    "nanocxr_node_received",
    "Films that came in: new, again, known, differs, or the code of a refusal.",
    ["outcome"],
    registry=REGISTRY,
)
WORKERS = Counter(
    "nanocxr_node_worker_starts", "How often the worker was started.", registry=REGISTRY
)


class SpoolCollector(Collector):
    """Counts what is in the spool when it is asked."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges."""
        films = GaugeMetricFamily("nanocxr_node_films", "Films by state.", labels=["state"])
        deliveries = GaugeMetricFamily(
            "nanocxr_node_deliveries",
            "Deliveries by destination and state.",
            labels=["destination", "state"],
        )
        for (what, state), count in sorted(upkeep.counts(self._spool).items()):
            if what == "film":
                films.add_metric([state], count)
            else:
                deliveries.add_metric([what, state], count)
        yield films
        yield deliveries
        yield GaugeMetricFamily(
            "nanocxr_node_oldest_seconds",
            "For how long the film that waits longest has waited.",
            value=upkeep.oldest_seconds(self._spool),
        )
        yield GaugeMetricFamily(
            "nanocxr_node_free_bytes", "Free on the spool's disk.", value=self._spool.free_bytes()
        )
