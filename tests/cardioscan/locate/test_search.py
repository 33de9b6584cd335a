from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cardioscan.backends.specs import NAME_PLACES
from cardioscan.imaging.geometry import transform_points
from cardioscan.locate import search
from cardioscan.locate.search import SURE_NAMES, search_page, views
from cardioscan.synthesis.dataset import RenderedPage, render_page
from cardioscan.synthesis.simulator import SimulatedSignals
from cardioscan.synthesis.views import label_map

SIGNALS = SimulatedSignals(4, seed=5)


def photograph(orientation: int) -> RenderedPage:
    size = (1600, 1200) if orientation % 2 == 0 else (1200, 1600)
    return render_page(SIGNALS.record(0), "phone_photo", np.random.default_rng(2), size=size, orientation=orientation)


class Reader:
    """A label detector that knows the page and reads it in one orientation only; counts what it is shown."""

    def __init__(self, rendered: RenderedPage, readable: int) -> None:
        self.answers = []
        for place, view in enumerate(views(rendered.image)):
            labels, _ = label_map(NAME_PLACES, rendered.geometry.after(view.matrix), (1440, 1152))
            if place != readable:
                labels[:] = 0
            self.answers += [labels] * (4 if view.flips else 1)
        self.shown = 0

    def __call__(self, view: np.ndarray) -> dict[str, Any]:
        assert view.shape == (1152, 1440, 3)
        labels = self.answers[self.shown]
        self.shown += 1
        probability = ((labels[None] == np.arange(14)[:, None, None]) * 255).astype(np.uint8)
        return {"label_probability": probability[None]}


@pytest.mark.parametrize(("outlined", "readable"), [(True, 0), (True, 1), (True, 2), (False, 0), (False, 3)])
def test_looking_ends_with_the_first_view_that_can_be_read(
    outlined: bool, readable: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not outlined:
        monkeypatch.setattr(search, "find_outline", lambda image: None)
    rendered = photograph(0)
    reader = Reader(rendered, readable)
    look, count = search_page(rendered.image, reader, NAME_PLACES)
    assert count == reader.shown == readable + 1
    assert look.sure and look.alignment is not None
    assert look.view.straightened == (outlined and readable != 0)
    page = look.alignment.to_image(look.view.matrix)
    points = NAME_PLACES.points()
    apart = np.linalg.norm(transform_points(page, points) - rendered.geometry.to_image(points), axis=1)
    assert np.median(apart) < 8  # a homography cannot follow bent paper
    names = look.names_in_picture(look.alignment)
    truth = rendered.geometry.to_image(points[names[:, 0].astype(int) - 1])
    assert len(names) >= SURE_NAMES
    assert np.linalg.norm(names[:, 1:] - truth, axis=1).max() < 5


def test_the_last_view_is_read_by_its_four_flips() -> None:
    rendered = photograph(0)
    planned = list(views(rendered.image))
    assert [view.flips for view in planned] == [False] * 9 + [True]
    assert planned[-1].pixels is planned[1].pixels and planned[-1].straightened


@pytest.mark.parametrize(("outlined", "looks"), [(True, 10), (False, 9)])
def test_a_page_that_cannot_be_read_is_looked_at_from_all_sides(
    outlined: bool, looks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not outlined:
        monkeypatch.setattr(search, "find_outline", lambda image: None)
    blank = np.zeros((1, 14, 288, 360), np.uint8)
    blank[:, 0] = 255
    seen = []

    def detector(view: np.ndarray) -> dict[str, Any]:
        seen.append(view)
        return {"label_probability": blank}

    look, count = search_page(photograph(0).image, detector, NAME_PLACES)
    assert look.alignment is None and not look.sure and look.score < 0
    assert count == looks
    assert len(seen) == looks - 1 + 4


@pytest.mark.parametrize("orientation", range(8))
def test_some_view_shows_the_page_upright(orientation: int) -> None:
    rendered = photograph(orientation)
    upright = 0
    for view in views(rendered.image):
        whole = view.matrix @ rendered.geometry.homography
        corners = transform_points(whole, np.array([[0.0, 0.0], [2200.0, 0.0], [0.0, 1700.0]]))
        across, down = corners[1] - corners[0], corners[2] - corners[0]
        upright += not view.flips and bool(across[0] > 4 * abs(across[1]) and down[1] > 4 * abs(down[0]))
    assert upright >= 1
    assert SURE_NAMES < len(NAME_PLACES.classes)
