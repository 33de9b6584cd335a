"""Building TensorRT plans on the machine that will serve them: ``trtexec``, one call per network.

A plan runs on one compute capability and one TensorRT version, so it is built where it is used, by the ``trtexec`` of
the container that serves it. It has been tried against stand-ins for ``trtexec`` and ``nvidia-smi`` only: not yet run
on a GPU.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from cardioscan.backends.specs import SPECS
from cardioscan.errors import EngineError
from cardioscan_export.repository import RepositoryOptions, WrittenModel, plan_command

TRTEXEC_PLACES: Final = ("/usr/src/tensorrt/bin/trtexec", "/opt/tensorrt/bin/trtexec")
"""Where NVIDIA's packages and containers put ``trtexec``, which is often not on the PATH."""

_TOLD_LINES: Final = 12
_DETECTION_S: Final = 60
_BANNER: Final = re.compile(r"TensorRT v(\d+)")


@dataclass(frozen=True)
class Machine:
    """What plans built here run on.

    Attributes:
        trtexec: the program.
        tensorrt_version: such as 10.9 or 10.9.1.
        compute_capability: of the first GPU, such as 8.9.
        gpu: its name.
    """

    trtexec: str
    tensorrt_version: str
    compute_capability: str
    gpu: str


def find_machine() -> Machine:
    """Find ``trtexec``, its version, and the first GPU; raises ``EngineError`` where one of them is missing."""
    trtexec = shutil.which("trtexec") or next((place for place in TRTEXEC_PLACES if os.access(place, os.X_OK)), None)
    if trtexec is None:
        raise EngineError(
            "trtexec was not found on the PATH, nor where NVIDIA's packages put it. Build the plans inside the "
            "container that will serve them, or leave out --build and run the printed commands there"
        )
    banner = _output([trtexec, "--help"])
    found = _BANNER.search(banner)
    if found is None:
        raise EngineError(f"{trtexec} does not say which TensorRT it belongs to: {_tail(banner)}")
    gpus = _output(["nvidia-smi", "--query-gpu=compute_cap,name", "--format=csv,noheader"]).splitlines()
    capability, _, name = (gpus[0] if gpus else "").partition(",")
    if not re.fullmatch(r"\d+\.\d+", capability.strip()):
        raise EngineError(f"nvidia-smi names no GPU: {_tail(chr(10).join(gpus))}")
    return Machine(trtexec, version_of(int(found[1])), capability.strip(), name.strip())


def version_of(number: int) -> str:
    """The version in ``trtexec``'s banner as text: 100900 is 10.9, 101501 is 10.15.1, and 8601, as before 10, 8.6.1."""
    major, rest = divmod(number, 10000 if number >= 100000 else 1000)
    minor, patch = divmod(rest, 100)
    return f"{major}.{minor}" + (f".{patch}" if patch else "")


def for_machine(options: RepositoryOptions, machine: Machine) -> RepositoryOptions:
    """The options for the flavour ``tensorrt`` on this machine alone."""
    return replace(
        options,
        flavour="tensorrt",
        compute_capabilities=(machine.compute_capability,),
        tensorrt_version=machine.tensorrt_version,
    )


def build_plans(
    written: Sequence[WrittenModel],
    machine: Machine,
    engine_cache: str | Path,
    tell: Callable[[str], None] = lambda line: None,
) -> list[Path]:
    """Build every plan that a repository still misses.

    Each call's output goes to ``<network>.log`` in the cache folder; a plan appears in the repository only once it is
    whole.

    Args:
        written: what ``write_repository`` gave for :func:`for_machine`.
        machine: where this runs.
        engine_cache: folder for timings and logs; made where it is missing.
        tell: called with a line before each build.

    Returns:
        The plans that were built.

    Raises:
        EngineError: a plan is for another machine, or ``trtexec`` failed; what it said last is in the message.
    """
    cache = Path(engine_cache)
    built = []
    for model in written:
        for plan in model.missing:
            ours = f"-cc{machine.compute_capability}-trt{machine.tensorrt_version}.plan"
            if not plan.name.endswith(ours):
                raise EngineError(
                    f"{plan.name} cannot be built here, on '{ours}': build it on its own GPU and TensorRT"
                )
            assert model.graph is not None  # named wherever something is missing
            cache.mkdir(parents=True, exist_ok=True)
            tell(f"{model.name}: building {plan.name} on {machine.gpu}; this takes minutes")
            _build(model, plan, machine.trtexec, cache)
            built.append(plan)
    return built


def _build(model: WrittenModel, plan: Path, trtexec: str, cache: Path) -> None:
    assert model.graph is not None
    fresh, log = plan.with_name(plan.name + ".new"), cache / f"{model.name}.log"
    fresh.unlink(missing_ok=True)
    command = shlex.split(plan_command(SPECS[model.name], model.graph, fresh, str(cache)))
    with log.open("w", encoding="utf-8") as file:
        file.write(f"$ {shlex.join(command)}\n")
        file.flush()
        done = subprocess.run([trtexec, *command[1:]], stdout=file, stderr=subprocess.STDOUT, check=False)
    if done.returncode != 0 or not fresh.is_file() or fresh.stat().st_size == 0:
        fresh.unlink(missing_ok=True)
        said = _tail(log.read_text(encoding="utf-8", errors="replace"))
        raise EngineError(
            f"{model.name}: trtexec ended with status {done.returncode} and without a plan ({log}): {said}"
        )
    os.replace(fresh, plan)


def _output(command: list[str]) -> str:
    """What a program writes; raises ``EngineError`` where there is no such program or it does not end."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_DETECTION_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EngineError(
            f"{command[0]} cannot be run: {error}. Plans are built on a machine with an NVIDIA GPU"
        ) from error
    return done.stdout + done.stderr


def _tail(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-_TOLD_LINES:]) or "it said nothing"
