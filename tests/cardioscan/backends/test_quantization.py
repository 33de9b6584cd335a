"""Eight-bit arithmetic: which convolutions are rounded, by how much, and that limits belong to the released weights."""

from __future__ import annotations

import json
from importlib.resources import files

import numpy as np
import pytest

from cardioscan.backends.inference import limits_of, openvino_core
from cardioscan.backends.specs import SPECS, find_model_file

openvino = pytest.importorskip("openvino", reason="needs openvino (extra 'openvino')")
from cardioscan.backends.quantization import convolutions, measuring, quantise  # noqa: E402

NAMES = ("label_detector", "grid_rectifier", "waveform_extractor")
HEADS = {"label_detector": 1, "grid_rectifier": 3, "waveform_extractor": 1}
opset = openvino.opset13


def weights_of(rng, *shape):
    constant = opset.constant(rng.normal(size=shape).astype(np.float32))
    constant.set_friendly_name(f"weights {shape}")
    return constant


def small_network(rng):
    """Two convolutions, a pool between them, and a head."""
    page = opset.parameter([-1, 3, 16, 16], np.float32, name="page")
    first = opset.relu(opset.convolution(page, weights_of(rng, 8, 3, 3, 3), [1, 1], [1, 1], [1, 1], [1, 1]))
    pooled = opset.max_pool(first, [2, 2], [1, 1], [0, 0], [0, 0], [2, 2])
    second = opset.relu(
        opset.convolution(pooled.output(0), weights_of(rng, 8, 8, 3, 3), [1, 1], [1, 1], [1, 1], [1, 1])
    )
    head = opset.convolution(second, weights_of(rng, 2, 8, 1, 1), [1, 1], [0, 0], [0, 0], [1, 1])
    return openvino.Model([opset.result(head)], [page], "small")


def answer(model, page):
    compiled = openvino_core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return [np.array(value) for value in compiled([page]).values()]


def test_heads_are_left_alone():
    names = [name for name, _, _ in convolutions(small_network(np.random.default_rng(0)))]
    assert names == ["weights (8, 3, 3, 3)", "weights (8, 8, 3, 3)"]


def test_limits_are_what_goes_into_each_convolution():
    rng = np.random.default_rng(1)
    model, page = small_network(rng), rng.normal(size=(2, 3, 16, 16)).astype(np.float32)
    names = measuring(model)
    _, *limits = answer(model, page)
    assert len(limits) == 2 * len(names) == 4
    assert (float(limits[0]), float(limits[1])) == (page.min(), page.max())
    assert limits[2] >= 0, "behind a ReLU"


def test_what_is_rounded_stays_close_and_what_has_no_limits_stays_equal():
    page = np.random.default_rng(2).normal(size=(1, 3, 16, 16)).astype(np.float32)
    model = small_network(np.random.default_rng(3))
    names = measuring(model)
    exact, *values = answer(model, page)
    limits = {name: (float(values[2 * k]), float(values[2 * k + 1])) for k, name in enumerate(names)}
    for chosen in ({}, {"weights of nothing": (0.0, 1.0)}):
        model = small_network(np.random.default_rng(3))
        assert quantise(model, chosen) == 0
        np.testing.assert_array_equal(answer(model, page)[0], exact)
    model = small_network(np.random.default_rng(3))
    assert quantise(model, limits) == 2
    difference = np.abs(answer(model, page)[0] - exact)
    assert 0 < difference.max() < 0.1 * np.abs(exact).max()


@pytest.mark.parametrize("name", NAMES)
def test_limits_belong_to_the_released_weights(name):
    """They are measured anew with every release: ``cardioscan calibrate``."""
    limits = limits_of(name, SPECS[name].sha256)
    model = openvino_core().read_model(find_model_file(name))
    found = {weights for weights, _, _ in convolutions(model)}
    assert found == set(limits), "run 'cardioscan calibrate'"
    every = sum(node.get_type_name() == "Convolution" for node in model.get_ordered_ops())
    assert every - len(found) == HEADS[name]
    assert all(low <= 0 < high for low, high in limits.values())
    assert quantise(model, limits) == len(found)


def test_limits_of_other_weights_are_not_taken():
    entry = json.loads(files("cardioscan.backends").joinpath("int8.json").read_text())["grid_rectifier"]
    assert limits_of("grid_rectifier", entry["sha256"]) and not limits_of("grid_rectifier", "0" * 64)
    assert not limits_of("grid_rectifier", "") and not limits_of("source_classifier", SPECS["source_classifier"].sha256)
