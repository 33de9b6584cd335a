"""What the errors of a server mean: the messages are those that Triton 2.51 and gRPC 1.85 gave."""

from __future__ import annotations

import numpy as np
import pytest

from cardioscan.errors import (
    DeadlineExceededError,
    ModelContractError,
    ServerOverloadedError,
    ServerUnavailableError,
    ServingError,
)
from cardioscan_client.faults import RETRY, WAIT_AND_RETRY, Cause, backoff_s, classify, explain

MESSAGES = [
    (
        "UNAVAILABLE",
        "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:9: Failed to connect to remote host: "
        "Connection refused",
        Cause.CONNECTION,
    ),
    (
        "UNAVAILABLE",
        "errors resolving no.such.host:9: [field:hostname lookup error:address lookup failed for no.such.host:9: "
        "Domain name not found]",
        Cause.CONNECTION,
    ),
    ("UNAVAILABLE", "Stream removed (Socket closed)", Cause.CONNECTION),
    (
        "UNAVAILABLE",
        "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:9: Tls handshake failed "
        "(TSI_PROTOCOL_FAILURE): SSL_ERROR_SSL: error:100000f7:SSL routines:OPENSSL_internal:WRONG_VERSION_NUMBER",
        Cause.ENCRYPTION,
    ),
    (
        "UNAVAILABLE",
        "[request id: <id_unknown>] Server is stopping, scheduler for model has stopped accepting new inference "
        "requests",
        Cause.STOPPING,
    ),
    ("UNAVAILABLE", "Server exiting", Cause.STOPPING),
    ("UNAVAILABLE", "Request for unknown model: 'x' version 1 is not at ready state", Cause.NOT_READY),
    ("UNAVAILABLE", "[request id: <id_unknown>] Exceeds maximum queue size", Cause.OVERLOADED),
    ("UNAVAILABLE", "Request timeout expired", Cause.OVERLOADED),
    (
        "UNAVAILABLE",
        "This protocol is restricted, expecting header 'triton-grpc-protocol-token'",
        Cause.DENIED,
    ),
    ("UNAUTHENTICATED", "no token", Cause.DENIED),
    ("NOT_FOUND", "Request for unknown model: 'x' version 7 is not found", Cause.CONTRACT),
    (
        "INVALID_ARGUMENT",
        "[request id: <id_unknown>] unexpected shape for input 'x' for model 'y'. Expected [-1,1], got [1,2].",
        Cause.CONTRACT,
    ),
    (
        "INVALID_ARGUMENT",
        "[request id: <id_unknown>] Unable to find shared memory region: 'cardioscan-client-1'",
        Cause.REGION,
    ),
    ("INTERNAL", "Stub process 'x_0_0' is not healthy.", Cause.BROKEN),
    ("INTERNAL", "ValueError: no", Cause.OTHER),
    ("DEADLINE_EXCEEDED", "Deadline Exceeded", Cause.DEADLINE),
    ("RESOURCE_EXHAUSTED", "CLIENT: Received message larger than max (9 vs. 4)", Cause.CONTRACT),
    ("RESOURCE_EXHAUSTED", "too many calls", Cause.OVERLOADED),
    (None, "input data is malformed", Cause.OTHER),
]
ERRORS = {
    Cause.OVERLOADED: ServerOverloadedError,
    Cause.CONTRACT: ModelContractError,
    Cause.DEADLINE: DeadlineExceededError,
    Cause.REGION: ServingError,
    Cause.OTHER: ServingError,
}


@pytest.mark.parametrize(("status", "message", "cause"), MESSAGES)
def test_messages_have_a_cause_and_a_typed_error(status: str | None, message: str, cause: Cause) -> None:
    assert classify(f"StatusCode.{status}" if status else None, message) is cause
    error = explain(cause, message, "server:8001", "label_detector")
    assert type(error) is ERRORS.get(cause, ServerUnavailableError)
    assert "server:8001" in str(error) and message in str(error) and "label_detector" in str(error)


def test_only_causes_that_pass_are_tried_again() -> None:
    assert WAIT_AND_RETRY == {Cause.CONNECTION, Cause.STOPPING, Cause.NOT_READY, Cause.REGION}
    assert RETRY == WAIT_AND_RETRY | {Cause.OVERLOADED}


def test_pauses_grow_and_differ() -> None:
    rng = np.random.default_rng(1)
    pauses = np.array([[backoff_s(attempt, rng, 0.5) for attempt in range(3)] for _ in range(200)])
    whole = 0.5 * 2.0 ** np.arange(3)
    assert (pauses >= whole / 2).all() and (pauses <= whole).all()
    assert (pauses.std(axis=0) > 0.1 * whole).all()
