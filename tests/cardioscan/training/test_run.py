"""Training: a few real steps, resumed from a checkpoint and from a released file."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the package torch (extra 'train') is not installed")
pytest.importorskip("timm", reason="the package timm (extra 'train') is not installed")

from cardioscan.errors import CardioscanError, ModelError  # noqa: E402
from cardioscan.networks.models import build_network  # noqa: E402
from cardioscan.training.losses import coverage_loss  # noqa: E402
from cardioscan.training.options import TrainingOptions  # noqa: E402
from cardioscan.training.run import RenderedSamples, averaging_decay, fingerprint, learning_rate_factor, train  # noqa: E402
from cardioscan.training.weights import load_checkpoint, load_released  # noqa: E402


def test_two_steps_then_two_more_from_the_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cardioscan.training.tasks import WaveformTask

    monkeypatch.setattr(WaveformTask, "strip_width", 128)
    monkeypatch.setattr(WaveformTask, "strip_height", 640)
    options = TrainingOptions("waveform_extractor", steps=2, batch_size=1, resume="none", directory=tmp_path)
    figures = train(options)
    assert 0 <= figures["iou"] <= 1 and figures["trace_error_px"] >= 0
    checkpoint = tmp_path / "waveform_extractor" / "last.pt"
    first = build_network("waveform_extractor")
    assert load_checkpoint(checkpoint, first) == 2
    train(TrainingOptions("waveform_extractor", steps=2, batch_size=1, directory=tmp_path))
    second = build_network("waveform_extractor")
    assert load_checkpoint(checkpoint, second) == 4
    assert not torch.equal(first.coverage_head.weight, second.coverage_head.weight)
    lines = (tmp_path / "waveform_extractor" / "log.jsonl").read_text().splitlines()
    assert all(json.loads(line)["step"] <= 4 for line in lines)


def test_unknown_network_and_missing_checkpoint_are_explained(tmp_path: Path) -> None:
    with pytest.raises(CardioscanError, match="unknown network"):
        train(TrainingOptions("beat_detector", directory=tmp_path))
    with pytest.raises(ModelError, match="no checkpoint"):
        load_checkpoint(tmp_path / "none.pt", torch.nn.Linear(1, 1))


def test_a_file_of_another_network_is_refused() -> None:
    from cardioscan.backends.specs import find_model_file

    path = find_model_file("label_detector", missing_ok=True)
    assert path is not None, "the repository must hold the released label_detector"
    with pytest.raises(ModelError, match="does not fit"):
        load_released("waveform_extractor", build_network("waveform_extractor"), path)


class Draws:
    """A task whose samples are what its generator draws."""

    def sample(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        return {"drawn": rng.integers(1 << 30, size=1)}


def test_other_weights_see_other_pages() -> None:
    torch.manual_seed(1)
    first, second = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    assert fingerprint(first) == fingerprint(copy.deepcopy(first)) != fingerprint(second)

    def drawn(*seeds: int, pool: int = 0) -> list[int]:
        samples = iter(RenderedSamples(Draws(), seeds, pool))
        return [int(next(samples)["drawn"]) for _ in range(20)]

    assert drawn(0, 0, fingerprint(first)) == drawn(0, 0, fingerprint(first))
    assert not set(drawn(0, 0, fingerprint(first))) & set(drawn(0, 0, fingerprint(second)))
    assert len(set(drawn(0, pool=4))) < 20 == len(set(drawn(0)))


def test_learning_rate_warms_up_and_decays() -> None:
    assert learning_rate_factor(0.0, 0) < 0.05
    assert learning_rate_factor(0.0, 1000) == pytest.approx(1.0)
    assert learning_rate_factor(1.0, 1000) == pytest.approx(0.02)


@pytest.mark.parametrize("steps", [40, 400, 4000])
def test_the_average_of_weights_remembers_the_last_quarter_of_the_steps(steps: int) -> None:
    decays = [averaging_decay(step) for step in range(1, steps + 1)]
    left = np.cumprod(decays[::-1])[::-1]  # of what each step has found
    assert left[0] < 0.02
    assert left[round(0.75 * steps)] == pytest.approx(0.75**4, abs=0.1)


def test_coverage_loss_prefers_the_truth() -> None:
    target = torch.zeros(1, 4, 32, 32)
    target[:, :, 10:13] = 1
    right, wrong = 8 * (target - 0.5), 8 * (0.5 - target)
    assert coverage_loss(right, target) < 0.2 < coverage_loss(torch.zeros_like(target), target)
    assert coverage_loss(wrong, target) > coverage_loss(torch.zeros_like(target), target)
