from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cardioscan.imaging.geometry import transform_points
from cardioscan.locate.search import SURE_NAMES, search_page, views
from cardioscan.page.template import STANDARD_PAGE
from cardioscan.synthesis.dataset import RenderedPage, render_page
from cardioscan.synthesis.simulator import SimulatedSignals
from cardioscan.synthesis.views import label_map

SIGNALS = SimulatedSignals(4, seed=5)


def photograph(orientation: int) -> RenderedPage:
    size = (1600, 1200) if orientation % 2 == 0 else (1200, 1600)
    return render_page(SIGNALS.record(0), "phone_photo", np.random.default_rng(2), size=size, orientation=orientation)


class Reader:
    """A label detector that knows the page and reads it in one orientation only; counts what it is shown."""

    def __init__(self, rendered: RenderedPage, readable: int, flip_tta: str, straightening: bool) -> None:
        planned = views(rendered.image, flip_tta, straightening)
        self.answers = []
        for place, view in enumerate(planned):
            labels, _ = label_map(STANDARD_PAGE, rendered.geometry.after(view.matrix), (1440, 1152))
            if place != readable:
                labels[:] = 0
            self.answers += [labels] * (4 if view.flips else 1)
        self.shown = 0

    def __call__(self, view: np.ndarray) -> dict[str, Any]:
        assert view.shape == (1152, 1440, 3)
        labels = self.answers[self.shown]
        self.shown += 1
        probability = ((labels[None] == np.arange(14)[:, None, None]) * 255).astype(np.uint8)
        return {"label_probability": probability[None], "orientation_probability": np.full((1, 8), 0.125, np.float32)}


@pytest.mark.parametrize(("straightening", "readable"), [(True, 0), (True, 1), (True, 2), (False, 0), (False, 3)])
def test_looking_ends_with_the_first_view_that_can_be_read(straightening: bool, readable: int) -> None:
    rendered = photograph(0)
    reader = Reader(rendered, readable, "auto", straightening)
    look, count = search_page(rendered.image, reader, STANDARD_PAGE, "auto", straightening)
    assert count == reader.shown == readable + 1
    assert look.sure and look.alignment is not None
    assert look.view.straightened == (straightening and readable != 0)
    page = look.alignment.to_image(look.view.matrix)
    points = STANDARD_PAGE.label_points()
    apart = np.linalg.norm(transform_points(page, points) - rendered.geometry.to_image(points), axis=1)
    assert np.median(apart) < 8  # a homography cannot follow bent paper


@pytest.mark.parametrize(("flip_tta", "shown"), [("never", 9), ("auto", 9 + 4), ("always", 9 * 4)])
def test_a_page_that_cannot_be_read_is_looked_at_from_all_sides(flip_tta: str, shown: int) -> None:
    rendered = photograph(0)
    blank = np.zeros((1, 14, 288, 360), np.uint8)
    blank[:, 0] = 255
    seen = []

    def detector(view: np.ndarray) -> dict[str, Any]:
        seen.append(view)
        return {"label_probability": blank, "orientation_probability": np.full((1, 8), 0.125, np.float32)}

    look, count = search_page(rendered.image, detector, STANDARD_PAGE, flip_tta)
    assert look.alignment is None and not look.sure and look.score < 0
    assert len(seen) == shown
    assert count == (10 if flip_tta == "auto" else 9)


@pytest.mark.parametrize("orientation", range(8))
def test_some_view_shows_the_page_upright(orientation: int) -> None:
    rendered = photograph(orientation)
    upright = 0
    for view in views(rendered.image, "never"):
        whole = view.matrix @ rendered.geometry.homography
        corners = transform_points(whole, np.array([[0.0, 0.0], [2200.0, 0.0], [0.0, 1700.0]]))
        across, down = corners[1] - corners[0], corners[2] - corners[0]
        upright += bool(across[0] > 4 * abs(across[1]) and down[1] > 4 * abs(down[0]))
    assert upright >= 1
    assert SURE_NAMES < len(STANDARD_PAGE.labels)
