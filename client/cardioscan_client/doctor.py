"""What ``cardioscan doctor`` looks at: the installation, the networks, the machine, the server."""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

import numpy as np

from cardioscan import __version__
from cardioscan.backends.compiled import CACHE_VARIABLE, cache_folder
from cardioscan.backends.inference import InferenceBackend, OnnxBackend, choose_engine, computes_in
from cardioscan.backends.specs import SPECS, check_model_file, find_model_file
from cardioscan.errors import CardioscanError
from cardioscan_client.connection import TritonOptions
from cardioscan_client.deadline import page_deadline
from cardioscan_client.triton import TritonBackend

OK, NOTE, TROUBLE = "ok", "note", "trouble"
"""States of a finding: as it should be; something is missing that not everybody needs; pages cannot be digitized."""

_FOR_DEVELOPERS: Final = frozenset({"all", "lint", "test"})
_PAGE_BYTES: Final = 2 << 30
_SHARED_BYTES: Final = 256 << 20
_PROBE: Final = "source_classifier"
"""The network that is run once: the smallest one."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        subject: in a word or two.
        state: ``ok``, ``note`` or ``trouble``.
        said: what was found.
        advice: what to do about it; empty where nothing is to be done.
    """

    subject: str
    state: str
    said: str
    advice: str = ""

    def to_json_dict(self) -> dict[str, str]:
        """The finding for scripts."""
        return asdict(self)


def examine(models: Path | None = None, server: TritonOptions | None = None) -> Iterator[Finding]:
    """Look at everything, one finding after the other.

    Args:
        models: a model repository; None looks where the digitizer does.
        server: a Triton server to try; None tries none.
    """
    yield Finding("cardioscan", OK, f"{__version__} on Python {platform.python_version()}, {platform.platform()}")
    yield from packages(metadata.requires("cardioscan") or [], installed_version)
    yield from networks(models)
    yield probe("runtime", lambda: OnnxBackend(models, threads=1))
    yield from machine()
    if server is not None:
        yield triton_server(server)


def installed_version(name: str) -> str | None:
    """Version of an installed distribution; None where it is not there."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def packages(requirements: list[str], version_of: Callable[[str], str | None]) -> Iterator[Finding]:
    """The packages that the digitizer needs, and those of each extra.

    Args:
        requirements: as the metadata of a distribution list them (PEP 508).
        version_of: version of a distribution, None where it is not installed.
    """
    groups: dict[str, list[str]] = {"": []}
    for requirement in requirements:
        named = re.match(r"[A-Za-z0-9._-]+", requirement)
        marked = re.search(r"extra\s*==\s*[\"']([^\"']+)", requirement)
        if named:
            groups.setdefault(marked.group(1) if marked else "", []).append(named.group())
    missing = [name for name in groups.pop("") if version_of(name) is None]
    if missing:
        advice = f"pip install {' '.join(missing)}"
        yield Finding("packages", TROUBLE, f"missing: {', '.join(missing)}", advice)
    else:
        yield Finding("packages", OK, "all that digitizing needs")
    for extra in sorted(groups.keys() - _FOR_DEVELOPERS):
        missing = [name for name in groups[extra] if name != "cardioscan" and version_of(name) is None]
        if missing:
            yield Finding(
                f"extra {extra}", NOTE, f"missing: {', '.join(missing)}", f"pip install 'cardioscan[{extra}]'"
            )
        else:
            yield Finding(f"extra {extra}", OK, "installed")


def networks(models: Path | None) -> Iterator[Finding]:
    """The four ONNX files: are they there, and are they the released ones?"""
    for name in SPECS:
        try:
            path = find_model_file(name, models)
            assert path is not None  # find_model_file raises unless missing_ok
            digest = check_model_file(name, path)
        except (CardioscanError, OSError) as error:
            yield Finding(name, TROUBLE, str(error), "restore the model repository, or name it with --models")
        else:
            yield Finding(name, OK, f"version {SPECS[name].version}, SHA-256 {digest[:12]}")


def probe(subject: str, connect: Callable[[], InferenceBackend]) -> Finding:
    """Run the smallest network once on the backend that ``connect`` gives."""
    inputs = {tensor.name: np.zeros((1, *tensor.shape), tensor.dtype) for tensor in SPECS[_PROBE].inputs}
    try:
        answer = connect().infer(_PROBE, inputs)["source_probability"]
    except CardioscanError as error:
        return Finding(subject, TROUBLE, str(error))
    if not np.isfinite(answer).all() or abs(float(answer.sum()) - 1) > 1e-3:
        return Finding(subject, TROUBLE, "the networks answer with numbers that cannot be", "reinstall onnxruntime")
    return Finding(subject, OK, "a network answers")


def triton_server(options: TritonOptions) -> Finding:
    """A Triton server: is it there, ready, and does it serve the networks of this release?"""
    try:
        with TritonBackend(options) as backend, page_deadline(options.page_timeout_s):
            found = probe("server", lambda: backend)
            memory = "shared memory" if backend.uses_shared_memory else "messages"
    except CardioscanError as error:
        return Finding("server", TROUBLE, str(error))
    return found if found.state != OK else Finding("server", OK, f"{options.address} answers, tensors by {memory}")


def machine() -> Iterator[Finding]:
    """Memory, shared memory, cores and GPU."""
    yield Finding("cores", OK, f"{os.cpu_count()}")
    if "SC_AVPHYS_PAGES" in os.sysconf_names:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        enough = free >= _PAGE_BYTES
        advice = "" if enough else "a page takes up to 1.5 GB; with --jobs N, N times as much"
        yield Finding("memory", OK if enough else NOTE, f"{free / 2**30:.1f} GiB free", advice)
    if Path("/dev/shm").is_dir():
        size = shutil.disk_usage("/dev/shm").total
        enough = size >= _SHARED_BYTES
        advice = "" if enough else "'cardioscan serve' needs 256 MiB: docker run --shm-size=256m"
        yield Finding("/dev/shm", OK if enough else NOTE, f"{size / 2**20:.0f} MiB", advice)
    yield gpu(_providers(), shutil.which("nvidia-smi") is not None)
    yield engine()
    yield network_cache()


def network_cache() -> Finding:
    """The folder in which compiled networks are kept."""
    folder = cache_folder()
    if folder is None:
        advice = f"each start compiles the networks: name a folder of your own in {CACHE_VARIABLE}, or leave it at that"
        return Finding("cache", NOTE, "none", advice)
    size = sum(path.stat().st_size for path in folder.glob("*") if path.is_file())
    return Finding("cache", OK, f"{folder}, {size / 1e6:.0f} MB")


def gpu(providers: list[str], driver: bool) -> Finding:
    """Whether the embedded networks run on a GPU.

    Args:
        providers: execution providers of the installed ONNX Runtime.
        driver: whether NVIDIA's driver is on this machine.
    """
    if "CUDAExecutionProvider" in providers:
        return Finding("GPU", OK, "ONNX Runtime can use CUDA")
    if driver:
        advice = "pip install onnxruntime-gpu in the place of onnxruntime, or serve with Triton (docs/docker.md)"
        return Finding("GPU", NOTE, "there is an NVIDIA driver, but ONNX Runtime cannot use it", advice)
    return Finding("GPU", OK, "none; the networks run on the CPU")


def engine() -> Finding:
    """What computes the networks in this process."""
    try:
        chosen = choose_engine()
    except CardioscanError as error:
        return Finding("engine", TROUBLE, str(error))
    if chosen == "openvino":
        return Finding("engine", OK, f"OpenVINO, in {computes_in()}")
    if "CUDAExecutionProvider" in _providers():
        return Finding("engine", OK, "ONNX Runtime, on the GPU")
    return Finding("engine", NOTE, "ONNX Runtime", "OpenVINO is faster on CPUs: pip install 'cardioscan[openvino]'")


def _providers() -> list[str]:
    try:
        import onnxruntime
    except ImportError:
        return []
    return list(onnxruntime.get_available_providers())
