"""``python -m cardioscan.training NETWORK``: training where only the training packages are installed.

The same run as ``cardioscan train``, without the command line's packages, for machines that are lent for minutes: it
trains by the clock and leaves float16 weights in pieces, which ``cardioscan train NETWORK --resume FOLDER`` and
``cardioscan export NETWORK --checkpoint FOLDER`` read.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from cardioscan.networks.models import build_network
from cardioscan.training.options import NETWORKS, TrainingOptions
from cardioscan.training.run import train
from cardioscan.training.weights import load_checkpoint, save_pieces


def main() -> None:
    """Train one network and write its averaged weights in pieces."""
    parser = argparse.ArgumentParser(prog="python -m cardioscan.training", description=__doc__)
    parser.add_argument("network", choices=NETWORKS)
    parser.add_argument("--signals", help="an .npz archive; the simulator without it")
    parser.add_argument("--out", type=Path, required=True, help="folder for the pieces and the log")
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--batch-size", type=int, default=0)
    parser.add_argument("--learning-rate", type=float, default=1.5e-3)
    parser.add_argument("--resume", default="none", help="none, or a checkpoint, an ONNX file or a folder of pieces")
    parser.add_argument("--workers", type=int, default=0, help="processes that render")
    parser.add_argument("--pool", type=int, default=0, help="samples kept per process and used about four times")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    runs = Path("runs")
    figures = train(
        TrainingOptions(
            given.network,
            signals=given.signals,
            minutes=given.minutes,
            batch_size=given.batch_size,
            learning_rate=given.learning_rate,
            resume=given.resume,
            directory=runs,
            seed=given.seed,
            workers=given.workers,
            pool=given.pool,
            validate_every=max(1.0, given.minutes / 3),
        )
    )
    checkpoint = runs / given.network / "last.pt"
    network = build_network(given.network)
    step = load_checkpoint(checkpoint, network, averaged=True)
    save_pieces(given.out / given.network, network.state_dict(), step)
    log = (runs / given.network / "log.jsonl").read_text(encoding="utf-8")
    (given.out / given.network / "log.jsonl").write_text(log, encoding="utf-8")
    print(f"{given.network}: {step} steps on {'cuda' if torch.cuda.is_available() else 'cpu'}, {figures}")


if __name__ == "__main__":
    main()
