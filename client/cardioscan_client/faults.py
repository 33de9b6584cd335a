"""What an error of a Triton server means, whether to try again, and the typed error that a caller gets.

gRPC's status ``UNAVAILABLE`` covers a server that is not there, one that is stopping, a full queue and a missing
password alike, so the message decides. The fragments below are those of Triton 2.51 and gRPC 1.85, as seen.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, Final

import numpy as np

from cardioscan.errors import (
    DeadlineExceededError,
    ModelContractError,
    ServerOverloadedError,
    ServerUnavailableError,
    ServingError,
)

MAX_RETRIES: Final = 2
"""How often a request is sent again at most."""


class Cause(Enum):
    """Why a request failed."""

    CONNECTION = "no server answers"
    STOPPING = "the server is stopping"
    NOT_READY = "the server has not loaded its models"
    OVERLOADED = "the server has too many requests"
    DENIED = "the server wants a password"
    ENCRYPTION = "client and server do not agree on encryption"
    BROKEN = "the process of a network on the server has died"
    CONTRACT = "the server has other models"
    DEADLINE = "the time is over"
    REGION = "the server does not know the shared memory of this request"
    OTHER = "the server failed"


WAIT_AND_RETRY: Final = frozenset({Cause.CONNECTION, Cause.STOPPING, Cause.NOT_READY, Cause.REGION})
"""Causes that may pass when the server is back: wait until it is ready, see whether it is the same, then send again."""
RETRY: Final = WAIT_AND_RETRY | {Cause.OVERLOADED}
"""Causes after which the same request may succeed."""

_UNAVAILABLE: Final = (
    # These four are of ecg_digitizer, which says in a word what happened to it or to a network that it called.
    ("stub process", Cause.BROKEN),
    ("deadline_exceeded:", Cause.DEADLINE),
    ("server_overloaded:", Cause.OVERLOADED),
    ("server_unavailable:", Cause.NOT_READY),
    ("exceeds maximum queue size", Cause.OVERLOADED),
    ("request timeout expired", Cause.OVERLOADED),
    ("protocol is restricted", Cause.DENIED),
    ("handshake failed", Cause.ENCRYPTION),
    ("not at ready state", Cause.NOT_READY),
    ("has no available versions", Cause.NOT_READY),
    ("server not ready", Cause.NOT_READY),
    ("server is stopping", Cause.STOPPING),
    ("server exiting", Cause.STOPPING),
)
_BY_STATUS: Final = {
    "NOT_FOUND": Cause.CONTRACT,
    "INVALID_ARGUMENT": Cause.CONTRACT,
    "UNIMPLEMENTED": Cause.CONTRACT,
    "UNAUTHENTICATED": Cause.DENIED,
    "PERMISSION_DENIED": Cause.DENIED,
    "RESOURCE_EXHAUSTED": Cause.OVERLOADED,
    "DEADLINE_EXCEEDED": Cause.DEADLINE,
}


def client_error() -> Any:
    """The exception class of tritonclient, which is imported when a server is used and not before."""
    from tritonclient.utils import InferenceServerException

    return InferenceServerException


def classify(status: str | None, message: str) -> Cause:
    """The cause of an error.

    Args:
        status: gRPC's, as tritonclient gives it (``StatusCode.UNAVAILABLE``); None or empty for errors of the client.
        message: what the server or gRPC said.
    """
    code, text = (status or "").rpartition(".")[2], message.lower()
    if code == "UNAVAILABLE":
        return next((cause for fragment, cause in _UNAVAILABLE if fragment in text), Cause.CONNECTION)
    if "unable to find shared memory region" in text:
        return Cause.REGION  # it was restarted, and nothing was under way to notice
    if "stub process" in text:
        return Cause.BROKEN
    if code == "RESOURCE_EXHAUSTED" and "message larger than max" in text:
        return Cause.CONTRACT
    return _BY_STATUS.get(code, Cause.OTHER)


def explain(cause: Cause, message: str, address: str, what: str) -> ServingError:
    """The typed error for a cause, saying what a person can do.

    Args:
        cause: from ``classify``.
        message: what the server or gRPC said.
        address: of the server.
        what: what was asked of it.
    """
    text = f"{what} at {address}: {cause.value} ({message})"
    if cause is Cause.OVERLOADED:
        return ServerOverloadedError(f"{text}. Send fewer pages at once, or start more servers")
    if cause is Cause.DEADLINE:
        return DeadlineExceededError(f"{text}. Allow more time, or less load")
    if cause is Cause.CONTRACT:
        return ModelContractError(f"{text}. Client and server must be of the same release")
    advice = {
        Cause.CONNECTION: "Start one with 'cardioscan serve', or correct the address",
        Cause.STOPPING: "Start it again",
        Cause.NOT_READY: "Wait until it is ready, or look into its log",
        Cause.DENIED: "Give the token that its operator set",
        Cause.ENCRYPTION: "Switch TLS on or off as the server has it, and give the certificate of its authority",
        Cause.BROKEN: "Restart the server; it may have run out of memory",
    }
    if cause in advice:
        return ServerUnavailableError(f"{text}. {advice[cause]}")
    return ServingError(text)


def backoff_s(attempt: int, rng: np.random.Generator, base_s: float) -> float:
    """How long to wait before try ``attempt`` + 1: a random half to whole of ``base_s`` doubled every time.

    The jitter keeps clients that failed together from coming back together.
    """
    return float(base_s * 2**attempt * rng.uniform(0.5, 1.0))
