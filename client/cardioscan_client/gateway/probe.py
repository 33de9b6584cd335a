"""``python -m cardioscan_client.gateway.probe [HOST:PORT]``: asks a gateway for its health; for health checks.

Exit status 0 where it serves, 1 where it does not or does not answer. ``CARDIOSCAN_PROBE_CA`` names the PEM
certificates to trust where it speaks TLS, ``CARDIOSCAN_PROBE_NAME`` the name in its certificate where that is not HOST.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cardioscan_client.gateway.options import SERVICE

_TIMEOUT_S = 3.0


def probe(address: str, ca_file: str | None = None, name: str | None = None) -> str:
    """What a gateway says of itself: ``SERVING``, ``NOT_SERVING``, or why there is no answer."""
    if ca_file:
        options = [("grpc.ssl_target_name_override", name)] if name else []
        channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(Path(ca_file).read_bytes()), options)
    else:
        channel = grpc.insecure_channel(address)
    with channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(service=SERVICE), timeout=_TIMEOUT_S
            )
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}"
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


if __name__ == "__main__":
    state = probe(
        sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:8090",
        os.environ.get("CARDIOSCAN_PROBE_CA"),
        os.environ.get("CARDIOSCAN_PROBE_NAME"),
    )
    print(state)
    sys.exit(0 if state == "SERVING" else 1)
