"""What can be set for the web page and REST."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import Final

from cardioscan.imaging.images import ImageLimits

LOCAL_NAMES: Final = ("localhost", "127.0.0.1", "[::1]")
"""Host names by which a browser on this machine asks for it."""


@dataclass(frozen=True)
class WebOptions:
    """How the page is served.

    Attributes:
        host: address to listen on.
        port: 0 takes any free one.
        allowed_hosts: names by which callers may ask for this server, without ports; empty takes the names of this
            machine where it listens on those only, and any name elsewhere. Keeps other sites' names from being pointed
            here.
        token: what callers must send as ``authorization: Bearer TOKEN``; None lets everybody in.
        limits: bounds on pictures.
        max_pages: pages of one upload that are taken.
        jobs: pages in work at once, each in a thread.
        queue: pages that may wait; further ones are turned away.
        max_results: results held at once; the oldest is forgotten first.
        max_held_bytes: uploads and pictures held at once, likewise; also bounds what is arriving and waiting.
        keep_s: how long a result is held after it was last asked for.
        grace_s: how long pages under way may take when the server is stopped.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    allowed_hosts: tuple[str, ...] = ()
    token: str | None = field(default=None, repr=False)
    limits: ImageLimits = field(
        default_factory=lambda: ImageLimits(max_bytes=32 << 20, max_pixels=50_000_000, max_side=20_000)
    )
    max_pages: int = 50
    jobs: int = 1
    queue: int = 100
    max_results: int = 100
    max_held_bytes: int = 1 << 30
    keep_s: float = 1800.0
    grace_s: float = 10.0

    @property
    def hosts(self) -> frozenset[str]:
        """The names that are let in; empty where all are."""
        if self.allowed_hosts:
            return frozenset(name.lower() for name in self.allowed_hosts)
        return frozenset(LOCAL_NAMES) if is_local(self.host) else frozenset()


def is_local(host: str) -> bool:
    """Whether an address to listen on can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
