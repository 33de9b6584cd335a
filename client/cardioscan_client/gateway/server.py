"""``Gateway``: the server of ``cardioscan.v1``, from its start until it has drained."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import Callable
from http.server import HTTPServer

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from cardioscan.errors import ServerStartError
from cardioscan_client.gateway.auth import TokenCheck, credentials
from cardioscan_client.gateway.metrics import Metrics
from cardioscan_client.gateway.options import SERVICE, GatewayOptions
from cardioscan_client.gateway.pages import PageFunction
from cardioscan_client.gateway.queue import GatewayQueue
from cardioscan_client.gateway.service import DigitizerService
from cardioscan_client.gateway.v1 import digitizer_pb2_grpc

_LOG = logging.getLogger(__name__)
_POLL_S = 0.05
_STOP_TIMEOUT_S = 1.0
_LOOKAHEAD_BYTES = 4 << 20
_SPARE_CALLS = 64
"""Calls beyond those that are worked on: they are about to be turned away, or ask for health."""


class Gateway:
    """The service with health, reflection and metrics, in the event loop that starts it.

    Args:
        work: digitizes a page.
        options: see ``GatewayOptions``.
        upstream: asks the server behind the gateway whether it is ready, in a thread; None where there is none. While
            it is not, health says so of the service (readiness), and not of the gateway as a whole (liveness).
    """

    def __init__(self, work: PageFunction, options: GatewayOptions, upstream: Callable[[], bool] | None = None) -> None:
        self._upstream = upstream
        self._upstream_task: asyncio.Future[None] | None = None
        self.options, self.metrics = options, Metrics()
        self.port = 0
        self._queue = GatewayQueue(work, options.jobs, options.queue)
        self.metrics.watch(lambda: self._queue.running, lambda: self._queue.waiting)
        self._http: HTTPServer | None = None

    @property
    def metrics_port(self) -> int | None:
        """Where the metrics are; None where they are not offered."""
        return None if self._http is None else self._http.server_port

    async def start(self) -> None:
        """Begin to serve; ``port`` and ``metrics_port`` then say where.

        Raises:
            ServerStartError: a port is taken, or a file for TLS is missing.
        """
        options = self.options
        tls = credentials(options)
        if options.token and tls is None:
            _LOG.warning("the token travels unencrypted: use TLS, or a network that nobody else reads")
        self._service = DigitizerService(self._queue, options, self.metrics)
        self._health = health.aio.HealthServicer()
        self._server = grpc.aio.server(
            interceptors=[TokenCheck(options.token, self.metrics)] if options.token else [],
            maximum_concurrent_rpcs=options.jobs + options.queue + options.streams + _SPARE_CALLS,
            options=[
                ("grpc.max_receive_message_length", options.message_bytes),
                ("grpc.max_send_message_length", -1),
                # Or a second gateway on the same port would silently take half of the calls.
                ("grpc.so_reuseport", 0),
                # What gRPC takes in before a stream is read on: bounded, and enough for 80 MB/s over 50 ms.
                ("grpc.http2.bdp_probe", 0),
                ("grpc.http2.lookahead_bytes", _LOOKAHEAD_BYTES),
                ("grpc.http2.min_recv_ping_interval_without_data_ms", 30_000),
            ],
        )
        digitizer_pb2_grpc.add_DigitizerServiceServicer_to_server(self._service, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection((SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server)
        self.port = self._bind(tls)
        if options.metrics_port is not None:
            self._http = self.metrics.serve(options.metrics_host, options.metrics_port)
        await self._server.start()
        for name in ("", SERVICE):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        if self._upstream is not None:
            self._upstream_task = asyncio.ensure_future(self._follow_upstream(self._upstream))

    async def _follow_upstream(self, upstream: Callable[[], bool]) -> None:
        """Let the health of the service follow that of the server behind it."""
        was = True  # the backend has just connected
        while True:
            ready = await asyncio.to_thread(upstream)
            self.metrics.upstream(ready)
            if ready != was:
                status = health_pb2.HealthCheckResponse.SERVING if ready else health_pb2.HealthCheckResponse.NOT_SERVING
                await self._health.set(SERVICE, status)
                _LOG.log(logging.INFO if ready else logging.WARNING, "server", extra={"fields": {"ready": ready}})
            was = ready
            await asyncio.sleep(self.options.upstream_every_s)

    async def drain(self, at_once: asyncio.Event | None = None) -> bool:
        """Stop: take nothing new, finish what is under way for ``grace_s`` at most, then end.

        Health says NOT_SERVING meanwhile, and is answered until the end.

        Args:
            at_once: once it is set, nothing is waited for any longer.

        Returns:
            Whether everything under way was finished.
        """
        if self._upstream_task is not None:
            self._upstream_task.cancel()
        await self._health.enter_graceful_shutdown()
        self._service.stop()
        end = time.monotonic() + self.options.grace_s
        while not self._service.idle and time.monotonic() < end and not (at_once and at_once.is_set()):
            await asyncio.sleep(_POLL_S)
        finished = self._service.idle
        self._queue.close(give_up=True)
        await self._server.stop(_STOP_TIMEOUT_S)
        if self._http is not None:
            await asyncio.to_thread(self._http.shutdown)
            self._http.server_close()
        return finished

    def _bind(self, tls: grpc.ServerCredentials | None) -> int:
        host = f"[{self.options.host}]" if ":" in self.options.host else self.options.host
        address = f"{host}:{self.options.port}"
        try:
            if tls is None:
                return self._server.add_insecure_port(address)
            return self._server.add_secure_port(address, tls)
        except RuntimeError as error:  # gRPC does not say why
            raise ServerStartError(
                f"cannot listen on {address}: stop what listens there already, give another port with --port, or an "
                "address of this machine with --host; with TLS, check that certificate and key belong together"
            ) from error


async def run_gateway(gateway: Gateway, ready: Callable[[Gateway], object]) -> bool:
    """Serve until SIGINT or SIGTERM, then drain; a second signal ends the draining.

    Args:
        gateway: not yet started.
        ready: called once it serves.

    Returns:
        Whether everything under way was finished.

    Raises:
        ServerStartError: it cannot start.
    """
    loop, stop, at_once = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()

    def signalled() -> None:
        (at_once if stop.is_set() else stop).set()

    await gateway.start()
    with contextlib.ExitStack() as stack:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, signalled)
            stack.callback(loop.remove_signal_handler, number)
        ready(gateway)
        await stop.wait()
        _LOG.info("stopping", extra={"fields": {"grace_s": gateway.options.grace_s}})
        finished = await gateway.drain(at_once)
    _LOG.info("stopped", extra={"fields": {"finished": finished}})
    return finished
