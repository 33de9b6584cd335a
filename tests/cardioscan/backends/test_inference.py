"""The engines that compute the networks in this process."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest

from cardioscan.backends import inference
from cardioscan.backends.inference import OnnxBackend, choose_engine
from cardioscan.backends.specs import SPECS
from cardioscan.errors import MissingDependencyError, ModelError

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
openvino_only = pytest.mark.skipif(find_spec("openvino") is None, reason="needs openvino (extra 'openvino')")


def picture(name: str, seed: int = 0) -> dict[str, np.ndarray]:
    (tensor,) = SPECS[name].inputs
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (1, 3, tensor.shape[1] // 16, tensor.shape[2] // 16), np.uint8)
    return {tensor.name: np.ascontiguousarray(np.resize(coarse.repeat(16, 2).repeat(16, 3), (1, *tensor.shape)))}


@openvino_only
@pytest.mark.parametrize("name", SPECS)
def test_both_engines_give_the_same_answer(name):
    inputs = picture(name)
    engines = ("onnxruntime", "openvino")
    answers = [OnnxBackend(engine=engine, arithmetic="float32").infer(name, inputs) for engine in engines]
    for tensor in SPECS[name].outputs:
        a, b = (answer[tensor.name] for answer in answers)
        assert a.shape == b.shape == (1, *tensor.shape) and a.dtype == b.dtype == np.dtype(tensor.dtype)
        # Bytes may be rounded the other way; float32 sums come in another order.
        tolerance = 1 if a.dtype == np.uint8 else 1e-3
        np.testing.assert_allclose(a.astype(np.float64), b.astype(np.float64), atol=tolerance)


@openvino_only
@pytest.mark.parametrize(
    ("arithmetic", "name", "tensor", "apart"),
    [
        ("int8", "waveform_extractor", "row_coverage", 0.05),
        ("int8", "grid_rectifier", "point_offset", 0.15),
        ("int8", "label_detector", "label_probability", 0.05),
        ("float", "waveform_extractor", "row_coverage", 0.05),
    ],
)
def test_faster_arithmetic_gives_much_the_same_answer(arithmetic, name, tensor, apart):
    # On a page, where things are decided; on noise the networks are in doubt everywhere.
    pixels = cv2.cvtColor(cv2.imread(str(EXAMPLES / "page-photo.jpg")), cv2.COLOR_BGR2RGB)
    (spec,) = SPECS[name].inputs
    page = cv2.resize(pixels, spec.shape[:0:-1], interpolation=cv2.INTER_AREA).transpose(2, 0, 1)[None]
    exact, fast = (
        OnnxBackend(engine="openvino", arithmetic=kind).infer(name, {spec.name: page})[tensor].astype(np.float64)
        for kind in ("float32", arithmetic)
    )
    difference = np.abs(exact - fast)
    assert difference.mean() < apart
    if arithmetic == "int8":
        assert difference.max() > 0, "it is not in use"


@pytest.mark.parametrize(
    ("arithmetic", "machine", "int8"),
    [
        ("auto", "x86_64", True),
        ("auto", "AMD64", True),
        ("auto", "aarch64", False),
        ("int8", "aarch64", True),
        ("float", "x86_64", False),
        ("float32", "x86_64", False),
    ],
)
def test_what_is_computed_in(arithmetic, machine, int8, monkeypatch):
    monkeypatch.setattr(inference.platform, "machine", lambda: machine)
    assert inference.in_int8(arithmetic) == int8


@openvino_only
def test_networks_without_limits_of_their_own_are_computed_in_float(tmp_path):
    source = inference.find_model_file("grid_rectifier")
    target = tmp_path / SPECS["grid_rectifier"].file
    target.parent.mkdir(parents=True)
    target.write_bytes(source.read_bytes())
    inputs = picture("grid_rectifier")
    # Weights that nobody has verified may be other ones, for which the limits do not hold.
    own = OnnxBackend(tmp_path, verify=False, engine="openvino", arithmetic="int8").infer("grid_rectifier", inputs)
    exact = OnnxBackend(engine="openvino", arithmetic="float").infer("grid_rectifier", inputs)
    np.testing.assert_array_equal(own["point_offset"], exact["point_offset"])


def test_networks_are_opened_ahead_and_versions_name_those_used_only():
    backend = OnnxBackend(threads=1)
    backend.open_all()
    assert backend.model_versions() == {}
    backend.infer("source_classifier", picture("source_classifier"))
    assert list(backend.model_versions()) == ["source_classifier"]


def test_what_cannot_be_opened_ahead_is_told_by_the_page_that_needs_it(tmp_path):
    backend = OnnxBackend(tmp_path)
    backend.open_all()
    with pytest.raises(ModelError, match="'source_classifier' is missing"):
        backend.infer("source_classifier", picture("source_classifier"))


@openvino_only
def test_threads_share_a_network_without_mixing_their_pages():
    backend = OnnxBackend(engine="openvino", threads=1)
    pages = [picture("source_classifier", seed) for seed in range(6)]
    alone = [backend.infer("source_classifier", page)["source_probability"] for page in pages]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda page: backend.infer("source_classifier", page)["source_probability"], pages))
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("asked", "installed", "providers", "chosen"),
    [
        ("auto", True, ["CPUExecutionProvider"], "openvino"),
        ("auto", False, ["CPUExecutionProvider"], "onnxruntime"),
        ("auto", True, ["CUDAExecutionProvider", "CPUExecutionProvider"], "onnxruntime"),
        ("onnxruntime", True, ["CPUExecutionProvider"], "onnxruntime"),
        ("openvino", True, ["CUDAExecutionProvider", "CPUExecutionProvider"], "openvino"),
    ],
)
def test_the_engine_is_chosen_by_what_there_is(asked, installed, providers, chosen, monkeypatch):
    monkeypatch.setattr(inference, "find_spec", lambda name: object() if installed else None)
    monkeypatch.setattr(inference, "_providers_here", lambda: providers)
    assert choose_engine(asked) == chosen


def test_an_engine_that_is_not_installed_is_named_with_its_extra(monkeypatch):
    monkeypatch.setattr(inference, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"cardioscan\[openvino\]"):
        OnnxBackend(engine="openvino").infer("source_classifier", picture("source_classifier"))


@openvino_only
def test_a_damaged_file_is_refused_by_name(tmp_path):
    path = tmp_path / SPECS["source_classifier"].file
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no network")
    with pytest.raises(ModelError, match="OpenVINO cannot open"):
        OnnxBackend(tmp_path, verify=False, engine="openvino").infer("source_classifier", picture("source_classifier"))


@openvino_only
def test_usage_statistics_are_not_loaded():
    code = (
        "import sys; from cardioscan.backends.inference import _import_openvino; _import_openvino(); "
        "assert 'openvino_telemetry' not in sys.modules, 'loaded'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


INTERRUPTED = """
import gc, os, signal, time
import numpy as np
from cardioscan.backends.inference import OnnxBackend
from cardioscan.backends.specs import SPECS

signal.signal(signal.SIGINT, signal.default_int_handler)
page = {tensor.name: np.zeros((1, *tensor.shape), tensor.dtype) for tensor in SPECS["source_classifier"].inputs}
backends = [OnnxBackend(engine="openvino"), OnnxBackend(engine="openvino", arithmetic="float32")]
[backend.infer("source_classifier", page) for backend in backends]
while backends:
    backends.pop(0)  # the one made first goes first
    gc.collect()
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(10)
except KeyboardInterrupt:
    print("interrupted")
"""


@openvino_only
def test_an_interrupt_is_heard_after_networks_were_opened_and_dropped():
    """It was a segmentation fault on processors where OpenVINO gives signal handlers a stack of their own."""
    ended = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (0, "interrupted\n"), ended.stderr


@openvino_only
def test_threads_that_come_at_once_share_one_core():
    code = (
        "from concurrent.futures import ThreadPoolExecutor; from cardioscan.backends.inference import openvino_core\n"
        "with ThreadPoolExecutor(4) as pool: cores = list(pool.map(lambda _: openvino_core(), range(8)))\n"
        "assert len({id(core) for core in cores}) == 1, cores"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
