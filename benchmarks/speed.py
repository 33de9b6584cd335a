"""Time per stage and peak memory of digitizing a page in this process.

python -m benchmarks.speed -n 3
"""

from __future__ import annotations

import os
import resource
import sys
import time
from typing import Any

import click
import numpy as np

from benchmarks.common import ROOT, arithmetic_option, report
from cardioscan import Digitizer, DigitizerOptions
from cardioscan.backends.inference import choose_engine, computes_in
from cardioscan.imaging.images import load_image
from cardioscan.options import PROFILES


def peak_memory_gb() -> float:
    """Peak resident memory of this process so far, GB (10^9 bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e9 if sys.platform == "darwin" else peak * 1024 / 1e9


@click.command()
@click.option("-n", "count", default=3, help="Pages to time after one that warms up.")
@click.option("--image", default=str(ROOT / "examples" / "page-photo.jpg"), help="The page.")
@arithmetic_option
@click.option("--profile", type=click.Choice(list(PROFILES)), default="balanced", help="Profile of the digitizer.")
@click.option("--engine", type=click.Choice(["auto", "onnxruntime", "openvino"]), default="auto")
@click.option("--threads", default=0, help="Threads of the networks; 0 uses all cores.")
def main(count: int, image: str, profile: str, arithmetic: str | None, engine: Any, threads: int) -> None:
    """Measure speed and print the table."""
    changes = {"arithmetic": arithmetic} if arithmetic else {}
    digitizer = Digitizer(options=DigitizerOptions.of_profile(profile, threads=threads, engine=engine, **changes))
    pixels = np.array(load_image(image).pixels)
    started = time.perf_counter()
    digitizer.digitize(pixels)
    first = time.perf_counter() - started
    timings: list[dict[str, float]] = []
    totals, processor = [], []
    for _ in range(count):
        started, busy = time.perf_counter(), time.process_time()
        timings.append(dict(digitizer.digitize(pixels).timings_s))
        totals.append(time.perf_counter() - started)
        processor.append(time.process_time() - busy)
    rows: list[dict[str, object]] = [
        {"stage": stage, "median s": float(np.median([timing[stage] for timing in timings]))} for stage in timings[0]
    ]
    rows.append({"stage": "whole page", "median s": float(np.median(totals))})
    rows.append({"stage": "whole page, CPU seconds", "median s": float(np.median(processor))})
    rows.append({"stage": "first page, models loaded", "median s": first})
    rows.append({"stage": f"peak memory, GB ({os.cpu_count()} cores)", "median s": peak_memory_gb()})
    chosen = choose_engine(engine)
    chosen += f" in {computes_in(digitizer.options.arithmetic)}" if chosen == "openvino" else ""
    title = f"Time per page, {pixels.shape[1]} x {pixels.shape[0]} px, {profile}, {chosen}"
    report("speed", title, rows)


if __name__ == "__main__":
    main()
