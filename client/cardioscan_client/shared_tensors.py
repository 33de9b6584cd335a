"""Tensors in shared memory: what a client asks its server about it, and where in it the tensors of a request lie."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cardioscan.backends.inference import Tensors
from cardioscan.backends.specs import SPECS, NetworkSpec
from cardioscan.errors import ServingError
from cardioscan_client.contract import TRITON_TYPES
from cardioscan_client.faults import WAIT_AND_RETRY, Cause, classify, client_error
from cardioscan_client.shared_memory import PREFIX, Region, RegionPool, is_alive, is_available, remove_leftovers
from cardioscan_client.steps import Ask, Steps

OLDEST_SERVER: Final = (2, 50)
"""Older servers crash when a region that is in use is unregistered."""

_LOG = logging.getLogger(__name__)
_ALIGNMENT: Final = 64
_SERVER_AWAY: Final = WAIT_AND_RETRY | {Cause.DEADLINE}


class SharedTensors:
    """The shared memory of one client.

    Args:
        wanted: whether the server is to be asked for it.
        required: whether it is an error that there is none.
        limit: how many requests may use it at once.

    Attributes:
        enabled: whether the tensors of requests go through shared memory.
    """

    def __init__(self, wanted: bool, required: bool, limit: int) -> None:
        self._wanted, self._required = wanted, required
        self._pool = RegionPool(limit, max(layout(spec, 1)[1] for spec in SPECS.values()))
        self.enabled = False

    def connect(self, ask: Ask) -> Steps[None]:
        """Ask whether the server has it, to be done when it is new or back; also clears up after crashed clients.

        Raises:
            ServingError: it is required, and there is none.
            Exception: that of tritonclient, when the server does not answer.
        """
        self.enabled = False
        self._pool.discard_all()  # a server that was restarted knows none of them
        if not self._wanted:
            return
        if not is_available():
            return self._decline("this machine has no /dev/shm")
        metadata = yield ask("get_server_metadata")
        if not _is_offered(metadata):
            return self._decline(f"Triton {metadata.version} does not offer it")
        try:
            known = (yield ask("get_system_shared_memory_status")).regions
        except client_error() as error:
            return self._refused(error)
        self._pool.forget(set(self._pool.stale()) - set(known))
        remove_leftovers()
        region = self._pool.take(0)
        if region is None:
            if not self._pool.is_exhausted():
                return self._decline("there is too little of it on this machine")
            self.enabled = True  # other threads have them all
            return
        with self._pool.lend(region):
            self.enabled = yield from self._register(ask, region)
        if not self.enabled:
            self._pool.discard_all()
        else:  # the server sees the same /dev/shm, so a region that is not there has no owner
            ownerless = [name for name in known if name.startswith(PREFIX) and not is_alive(name)]
            yield from self._unregister(ask, ownerless)

    def region(self, ask: Ask, model: str, inputs: Tensors) -> Steps[Region | None]:
        """Shared memory that the server knows, for one request; None where that is to travel in a message.

        Raises:
            Exception: that of tritonclient, when the server does not answer.
        """
        region = self._pool.take(layout(SPECS[model], n_pages_of(model, inputs))[1]) if self.enabled else None
        if region is None or region.registered:
            return region
        try:
            known = yield from self._register(ask, region)
            if known:
                yield from self._unregister(ask, self._pool.stale())
        except BaseException:
            self._pool.discard(region)
            raise
        if not known:
            self._pool.discard(region)
            return None
        return region

    def lend(self, region: Region | None) -> AbstractContextManager[None]:
        """For the time of one request; see ``RegionPool.lend``."""
        return self._pool.lend(region)

    def close(self, ask: Ask) -> Steps[None]:
        """Give everything back; nothing that the server says to it is an error any more."""
        self.enabled = False
        self._pool.discard_all()
        try:
            yield from self._unregister(ask, self._pool.stale())
        except client_error() as error:
            _LOG.debug("shared memory stays registered: %s", error)

    def _register(self, ask: Ask, region: Region) -> Steps[bool]:
        try:
            yield ask("register_system_shared_memory", region.name, region.key, region.size)
        except client_error() as error:
            self._refused(error)
            return False
        region.registered = True
        return True

    def _unregister(self, ask: Ask, names: Iterable[str]) -> Steps[None]:
        for name in list(names):
            try:
                yield ask("unregister_system_shared_memory", name)
            except client_error() as error:
                if classify(error.status(), error.message()) in _SERVER_AWAY:
                    raise
                if "in use" in error.message():
                    continue  # a request that was given up is still running; it is asked again later
            self._pool.forget([name])

    def _refused(self, error: Any) -> None:
        if classify(error.status(), error.message()) in _SERVER_AWAY:
            raise error
        self._decline(error.message())

    def _decline(self, why: str) -> None:
        self.enabled = False
        if self._required:
            raise ServingError(f"no shared memory with the server: {why}. Start both on one machine, or do without")
        _LOG.info("no shared memory with the server: %s", why)


def write_inputs(client: Any, model: str, inputs: Tensors, region: Region) -> tuple[list[Any], list[Any]]:
    """Copy the inputs into a region; returns tritonclient's inputs and outputs, which say where in it they are.

    Args:
        client: the module ``tritonclient.grpc`` or ``tritonclient.grpc.aio``.
        model: name of the network.
        inputs: arrays by tensor name.
        region: large enough, as ``SharedTensors.region`` gives it.
    """
    spec, n_pages = SPECS[model], n_pages_of(model, inputs)
    places, _ = layout(spec, n_pages)
    given = []
    for tensor in spec.inputs:
        array = region.array(places[tensor.name], tensor.dtype, (n_pages, *tensor.shape))
        array[...] = inputs[tensor.name]
        item = client.InferInput(tensor.name, list(array.shape), TRITON_TYPES[tensor.dtype])
        item.set_shared_memory(region.name, array.nbytes, places[tensor.name])
        given.append(item)
    wanted = []
    for tensor in spec.outputs:
        n_bytes = region.array(places[tensor.name], tensor.dtype, (n_pages, *tensor.shape)).nbytes
        item = client.InferRequestedOutput(tensor.name)
        item.set_shared_memory(region.name, n_bytes, places[tensor.name])
        wanted.append(item)
    return given, wanted


def read_outputs(model: str, inputs: Tensors, region: Region) -> dict[str, NDArray[Any]]:
    """Copies of the outputs in a region, by name; read-only."""
    spec, n_pages = SPECS[model], n_pages_of(model, inputs)
    places, _ = layout(spec, n_pages)
    answer = {}
    for tensor in spec.outputs:
        answer[tensor.name] = region.array(places[tensor.name], tensor.dtype, (n_pages, *tensor.shape)).copy()
        answer[tensor.name].flags.writeable = False
    return answer


def layout(spec: NetworkSpec, n_pages: int) -> tuple[dict[str, int], int]:
    """Where each tensor of a request begins in its region, and how many bytes they take together."""
    places, end = {}, 0
    for tensor in (*spec.inputs, *spec.outputs):
        places[tensor.name] = end
        n_bytes = n_pages * int(np.prod(tensor.shape)) * np.dtype(tensor.dtype).itemsize
        end += -(-n_bytes // _ALIGNMENT) * _ALIGNMENT
    return places, end


def n_pages_of(model: str, inputs: Tensors) -> int:
    """Size of the batch axis."""
    return len(inputs[SPECS[model].inputs[0].name])


def _is_offered(metadata: Any) -> bool:
    version = tuple(int(part) for part in str(metadata.version).split(".")[:2] if part.isdigit())
    return "system_shared_memory" in metadata.extensions and version >= OLDEST_SERVER
