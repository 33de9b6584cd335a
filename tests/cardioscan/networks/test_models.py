"""One suite for the four networks: what they serve is what their specs say."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="the package torch (extra 'train') is not installed")
pytest.importorskip("timm", reason="the package timm (extra 'train') is not installed")

from cardioscan.backends.specs import RECTIFIER_WINDOW, SPECS  # noqa: E402
from cardioscan.networks.blocks import FoldedUNet, coordinate_map  # noqa: E402
from cardioscan.networks.models import build_network, nominal_lattice  # noqa: E402


@pytest.mark.parametrize("name", list(SPECS))
def test_served_tensors_match_the_spec(name: str) -> None:
    spec = SPECS[name]
    network = build_network(name).eval()
    image = torch.randint(0, 256, (1, *spec.inputs[0].shape), dtype=torch.uint8)
    with torch.inference_mode():
        outputs = network.serve(image)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    for tensor, output in zip(spec.outputs, outputs, strict=True):
        assert tuple(output.shape[1:]) == tensor.shape
        assert str(output.dtype) == f"torch.{tensor.dtype}"


def test_coordinates_run_from_minus_one_to_one_over_the_frame() -> None:
    whole = coordinate_map(torch.zeros(1, 2), 6, 10, 1, 10, 6)
    assert whole[0, 0, 0, 0] == -1 and whole[0, 0, 0, -1] == 1
    assert whole[0, 1, 0, 0] == -1 and whole[0, 1, -1, 0] == 1
    crop = coordinate_map(torch.tensor([[4.0, 2.0]]), 3, 4, 1, 10, 6)
    assert torch.allclose(crop[0], whole[0, :, 2:5, 4:8])


def test_nominal_lattice_is_whole_at_the_nodes_of_a_straight_page() -> None:
    nodes = RECTIFIER_WINDOW.from_reference(RECTIFIER_WINDOW.sheet.lattice())
    x, y = nodes[20, 30]
    column, row = int((x + 0.5) // 4), int((y + 0.5) // 4)
    i, j = nominal_lattice(torch.zeros(1, 2), 288, 360)[0, :, row, column]
    pitch = RECTIFIER_WINDOW.pitch
    assert float(i) == pytest.approx(30 + (4 * column + 1.5 - x) / pitch, abs=1e-3)
    assert float(j) == pytest.approx(20 + (4 * row + 1.5 - y) / pitch, abs=1e-3)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (72, 200)])
def test_sizes_that_do_not_divide_are_padded_and_cropped(height: int, width: int) -> None:
    network = FoldedUNet("resnet18d", (32, 32, 16, 16, 16), fold=2).eval()
    with torch.inference_mode():
        _, finest = network(torch.zeros(1, 3, height, width))
    assert tuple(finest.shape) == (1, 16, height // 2, width // 2)
