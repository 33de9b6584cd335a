"""How cost grows: by the megapixels of a picture, the pages of a folder, the worker processes; and what starting costs.

python -m benchmarks.scaling --parts megapixels,jobs,folder,start

Pictures of other sizes are the example page, scaled and saved as JPEG. Folders hold the example page under many names
and, from a hundred pages on, nine blank sheets for each (``--no-blank`` leaves them out): they are refused sooner, and
a thousand pages would take an hour. What a long run could pile up it would pile up for refused pages too.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import click
import cv2
import numpy as np
import psutil

from benchmarks.common import ROOT, report
from benchmarks.speed import peak_memory_gb
from cardioscan import Digitizer

EXAMPLE = ROOT / "examples" / "page-photo.jpg"
CARDIOSCAN = Path(sys.executable).with_name("cardioscan")
MEMORY_EVERY_S = 0.1


def scaled(megapixels: float, path: Path) -> tuple[int, int]:
    """Write the example page with so many megapixels; returns its width and height."""
    page = cv2.imread(str(EXAMPLE))
    factor = float(np.sqrt(megapixels * 1e6 / (page.shape[0] * page.shape[1])))
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    page = cv2.resize(page, None, fx=factor, fy=factor, interpolation=way)
    cv2.imwrite(str(path), page, [cv2.IMWRITE_JPEG_QUALITY, 92])
    return page.shape[1], page.shape[0]


def page_cost(path: Path, count: int) -> tuple[float, float, float, str]:
    """Median seconds and CPU seconds of digitizing a file, peak GB, and the outcome; meant for a process of its own."""
    digitizer = Digitizer()
    outcome = digitizer.digitize(path).outcome.value
    seconds, processor = [], []
    for _ in range(count):
        started, busy = time.perf_counter(), time.process_time()
        digitizer.digitize(path)
        seconds.append(time.perf_counter() - started)
        processor.append(time.process_time() - busy)
    return float(np.median(seconds)), float(np.median(processor)), peak_memory_gb(), outcome


def run_watched(arguments: list[str]) -> tuple[float, float, list[float]]:
    """Run ``cardioscan``; seconds, CPU seconds of all its processes, and their memory in GB, sampled as they run.

    Memory is the proportional set size where the system tells it (pages shared by processes count once), else the
    resident one.
    """
    started, before = time.perf_counter(), os.times()
    process = subprocess.Popen([str(CARDIOSCAN), *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    memory = []
    while process.poll() is None:
        memory.append(tree_memory_gb(process.pid))
        time.sleep(MEMORY_EVERY_S)
    after = os.times()
    busy = after.children_user - before.children_user + after.children_system - before.children_system
    return time.perf_counter() - started, busy, memory


def tree_memory_gb(pid: int) -> float:
    """Memory of a process and all its children, GB."""
    total = 0
    try:
        for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
            full = process.memory_full_info()
            total += getattr(full, "pss", full.rss)
    except psutil.Error:
        pass  # one that has just ended
    return total / 1e9


def megapixels(folder: Path, options: Mapping[str, str]) -> list[dict[str, object]]:
    """A page by the size of its picture."""
    rows: list[dict[str, object]] = []
    for size in map(float, options["sizes"].split(",")):
        path = folder / f"{size:g}.jpg"
        width, height = scaled(size, path)
        with ProcessPoolExecutor(1, get_context("spawn")) as alone:
            seconds, busy, peak, outcome = alone.submit(page_cost, path, 2).result()
        rows.append(
            {
                "megapixels": size,
                "px": f"{width} x {height}",
                "outcome": outcome,
                "s": seconds,
                "CPU s": busy,
                "GB": peak,
            }
        )
    return rows


def jobs(folder: Path, options: Mapping[str, str]) -> list[dict[str, object]]:
    """Pages per minute of a batch by worker processes."""
    many = copies(folder / "jobs", int(options["pages"]))
    rows: list[dict[str, object]] = []
    alone_s = 0.0
    for workers in (1, 2):
        arguments = ["digitize", str(many), "-o", str(folder / f"out{workers}"), "--jobs", str(workers)]
        seconds, busy, memory = run_watched(arguments)
        alone_s = alone_s or seconds
        rows.append(
            {
                "jobs": workers,
                "pages": int(options["pages"]),
                "pages a minute": 60 * int(options["pages"]) / seconds,
                "against one": alone_s / seconds,
                "s": seconds,
                "CPU s a page": busy / int(options["pages"]),
                "GB": max(memory),
            }
        )
    return rows


def folder_size(folder: Path, options: Mapping[str, str]) -> list[dict[str, object]]:
    """Memory of a batch by the number of pages."""
    rows: list[dict[str, object]] = []
    for count in map(int, options["folders"].split(",")):
        blank = count - count // 10 if options["blank"] and count >= 100 else 0
        many = copies(folder / f"of{count}", count, blank)
        seconds, busy, memory = run_watched(["digitize", str(many), "-o", str(folder / f"out{count}")])
        tenth = max(len(memory) // 10, 1)
        rows.append(
            {
                "pages": count,
                "of them blank": blank,
                "s": seconds,
                "CPU s a page": busy / count,
                "GB, peak": max(memory),
                # The first pages load the networks, the last see workers end: what piles up shows between.
                "GB, 2nd to 5th tenth": max(memory[tenth : 5 * tenth], default=max(memory)),
                "GB, 6th to 9th tenth": max(memory[5 * tenth : 9 * tenth], default=max(memory)),
            }
        )
    return rows


def copies(folder: Path, count: int, blank: int = 0) -> Path:
    """A folder of ``count`` pages, ``blank`` of them empty sheets, spread evenly."""
    folder.mkdir()
    empty, page = folder.parent / "blank.png", folder.parent / "page.jpg"
    cv2.imwrite(str(empty), np.full((1200, 1600, 3), 245, np.uint8))
    shutil.copyfile(EXAMPLE, page)
    for number in range(count):
        is_blank = (number + 1) * blank // count > number * blank // count
        original = empty if is_blank else page
        # Not symbolic links, since a file that is named twice is digitized once.
        os.link(original, folder / f"{number:05d}{original.suffix}")
    return folder


def start(folder: Path, options: Mapping[str, str]) -> list[dict[str, object]]:
    """The command for one page, against the page itself."""
    with ProcessPoolExecutor(1, get_context("spawn")) as alone:
        page, busy, peak, _ = alone.submit(page_cost, EXAMPLE, 3).result()
    rows: list[dict[str, object]] = [{"what": "a page, networks loaded", "s": page, "CPU s": busy, "GB": peak}]
    commands = {
        "cardioscan --version": ["--version"],
        "cardioscan digitize PAGE": ["digitize", str(EXAMPLE), "-o", str(folder / "one")],
        "the same, --engine onnxruntime": [
            "digitize",
            str(EXAMPLE),
            "-o",
            str(folder / "two"),
            "--engine",
            "onnxruntime",
        ],
    }
    for name, arguments in commands.items():
        runs = [run_watched(arguments) for _ in range(2)]
        seconds, busy, memory = min(runs, key=lambda run: run[0])
        rows.append({"what": name, "s": seconds, "CPU s": busy, "GB": max(memory)})
    return rows


PARTS: dict[str, tuple[str, Callable[[Path, Mapping[str, str]], list[dict[str, object]]]]] = {
    "megapixels": ("A page by the size of its picture", megapixels),
    "jobs": ("A batch by its worker processes", jobs),
    "folder": ("A batch by its number of pages", folder_size),
    "start": ("Starting", start),
}


@click.command()
@click.option("--parts", default=",".join(PARTS), help=f"Of: {', '.join(PARTS)}; comma-separated.")
@click.option("--sizes", default="1,2,5,12,25,50", help="Megapixels.")
@click.option("--pages", default="8", help="Pages of the batch for worker processes.")
@click.option("--folders", default="1,10,100,1000", help="Pages of a folder.")
@click.option("--blank/--no-blank", default=True, help="Fill folders of 100 and more pages up with blank sheets.")
def main(parts: str, blank: bool, **options: str) -> None:
    """Measure how cost grows and print the tables."""
    for name in parts.split(","):
        title, measure = PARTS[name]
        with tempfile.TemporaryDirectory() as folder:
            rows = measure(Path(folder), {**options, "blank": "yes" if blank else ""})
        report(f"scaling-{name}", f"{title}; {os.cpu_count()} cores", rows)


if __name__ == "__main__":
    main()
