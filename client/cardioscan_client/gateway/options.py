"""What can be set at a gateway."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cardioscan.imaging.images import ImageLimits

SERVICE: Final = "cardioscan.v1.DigitizerService"
"""Full name of the service, for health checks and reflection."""
_MESSAGE_MARGIN: Final = 4 << 20


@dataclass(frozen=True)
class GatewayOptions:
    """How the service is offered.

    Attributes:
        host: address to listen on.
        port: of the service; 0 takes any free one.
        metrics_host: address to listen on for Prometheus.
        metrics_port: of the metrics; 0 takes any free one, None offers none.
        jobs: pages in work at once, each in a thread.
        queue: unary calls that may wait for a thread; further ones are turned away.
        streams: streams at once; further ones are turned away.
        pages_per_stream: pages of one stream that are in work, waiting, or done and not yet sent.
        page_timeout_s: time for one page, from when its call is accepted; in a stream from when its work begins.
        limits: bounds on pictures.
        grace_s: how long pages under way may take when the gateway is stopped.
        upstream_every_s: how often the server behind the gateway, if there is one, is asked whether it is ready.
        cert_file, key_file: PEM certificate chain and key; both or none. With them the service speaks TLS only.
        client_ca_file: PEM certificates that client certificates must come from; None asks for none.
        token: what callers must send as ``authorization: Bearer TOKEN``; None lets everybody in.
    """

    host: str = "127.0.0.1"
    port: int = 8090
    metrics_host: str = "127.0.0.1"
    metrics_port: int | None = 8091
    jobs: int = 1
    queue: int = 16
    streams: int = 8
    pages_per_stream: int = 4
    page_timeout_s: float = 120.0
    limits: ImageLimits = field(default_factory=lambda: ImageLimits(max_bytes=64 << 20))
    grace_s: float = 30.0
    upstream_every_s: float = 5.0
    cert_file: Path | None = None
    key_file: Path | None = None
    client_ca_file: Path | None = None
    token: str | None = field(default=None, repr=False)

    @property
    def message_bytes(self) -> int:
        """Largest message that gRPC lets in: more than a picture, so that the caller gets our error and not gRPC's."""
        return self.limits.max_bytes + max(_MESSAGE_MARGIN, self.limits.max_bytes // 4)
