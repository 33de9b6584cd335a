"""What a gateway tells Prometheus."""

from __future__ import annotations

from collections.abc import Callable
from http.server import HTTPServer
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    start_http_server,
)

from cardioscan.errors import ServerStartError
from cardioscan.record import EcgRecord
from cardioscan_client.ports import port_message

_PAGE_BUCKETS_S: Final = (0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 7.5, 10, 15, 20, 30, 60, 120)
_STAGE_BUCKETS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_SIZE_BUCKETS: Final = tuple(float(1 << power) for power in range(14, 28, 2))


class Metrics:
    """The metrics of one gateway, in a registry of their own; names hold base units (seconds, bytes).

    ``pages`` counts pages by ``outcome`` (digitized, refused, invalid, rejected, failed, cancelled) and ``reason``;
    ``rejected`` counts what was turned away before any work, pages and streams, by ``reason``.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.pages = Counter(
            "cardioscan_pages_total", "Pages by how they ended.", ["outcome", "reason"], registry=self.registry
        )
        self.page_seconds = Histogram(
            "cardioscan_page_duration_seconds",
            "Time from accepting a page until its answer, waiting included.",
            ["outcome"],
            buckets=_PAGE_BUCKETS_S,
            registry=self.registry,
        )
        self.stage_seconds = Histogram(
            "cardioscan_stage_duration_seconds",
            "Time that a page spent in a stage.",
            ["stage"],
            buckets=_STAGE_BUCKETS_S,
            registry=self.registry,
        )
        self.page_bytes = Histogram(
            "cardioscan_page_size_bytes", "Size of the files sent.", buckets=_SIZE_BUCKETS, registry=self.registry
        )
        self.rejected = Counter(
            "cardioscan_rejected_total", "Pages and streams turned away unseen.", ["reason"], registry=self.registry
        )
        self._upstream: Gauge | None = None
        self.streams = Gauge("cardioscan_streams", "Streams open.", registry=self.registry)

    def watch(self, running: Callable[[], float], waiting: Callable[[], float]) -> None:
        """Read the pages in work and waiting from these functions whenever Prometheus asks."""
        Gauge("cardioscan_pages_in_flight", "Pages in work.", registry=self.registry).set_function(running)
        Gauge("cardioscan_pages_waiting", "Pages that wait for a thread.", registry=self.registry).set_function(waiting)

    def upstream(self, ready: bool) -> None:
        """State whether the server behind the gateway is ready; before the first time there is no such metric."""
        if self._upstream is None:
            text = "Whether the server behind the gateway is ready (1) or not (0)."
            self._upstream = Gauge("cardioscan_upstream_ready", text, registry=self.registry)
        self._upstream.set(ready)

    def count(self, outcome: str, reason: str, seconds: float) -> None:
        """Count a page that ended after so many seconds."""
        self.pages.labels(outcome, reason).inc()
        self.page_seconds.labels(outcome).observe(seconds)

    def count_stages(self, record: EcgRecord) -> None:
        """Count the stages that a page went through."""
        for stage, seconds in record.timings_s.items():
            self.stage_seconds.labels(stage).observe(seconds)

    def serve(self, host: str, port: int) -> HTTPServer:
        """Offer the metrics over HTTP, from a thread; the caller shuts the server down.

        Raises:
            ServerStartError: the port cannot be used.
        """
        try:
            server, _ = start_http_server(port, host, registry=self.registry)
        except OSError as error:
            raise ServerStartError(port_message(error, host, port, "--metrics-port")) from error
        return server
