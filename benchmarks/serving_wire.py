"""Counting what a page costs on the wire: a proxy on this machine through which a client reaches its server."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

_BLOCK = 1 << 18


class CountingProxy:
    """Passes TCP connections on and counts the bytes, so frames, headers and compression are all in the figures.

    Args:
        target: ``host:port`` of the server.

    Attributes:
        address: ``host:port`` for the client.
        sent, received: bytes from clients to the server and back, since ``reset``.
    """

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = [self._listener]
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.sent = self.received = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> CountingProxy:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        for item in self._sockets:
            with suppress(OSError):
                item.shutdown(socket.SHUT_RDWR)
            item.close()

    def reset(self) -> None:
        """Count from zero."""
        with self._lock:
            self.sent = self.received = 0

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                self._sockets += [client, server]
                threading.Thread(target=self._pass_on, args=(client, server, True), daemon=True).start()
                threading.Thread(target=self._pass_on, args=(server, client, False), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, up: bool) -> None:
        with suppress(OSError):
            while block := source.recv(_BLOCK):
                with self._lock:
                    if up:
                        self.sent += len(block)
                    else:
                        self.received += len(block)
                target.sendall(block)
            target.shutdown(socket.SHUT_WR)
