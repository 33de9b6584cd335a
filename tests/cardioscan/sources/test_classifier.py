from __future__ import annotations

import numpy as np
import pytest

from cardioscan.backends.specs import MARGIN_GREY, SPECS
from cardioscan.sources import CATEGORIES
from cardioscan.sources.classifier import SURE_CATEGORY, classify, thumbnail


class Classifier:
    """A source classifier with one answer, and what it was last shown."""

    def __init__(self, best: int, probability: float) -> None:
        self.answer = np.full((1, len(CATEGORIES)), (1 - probability) / (len(CATEGORIES) - 1), np.float32)
        self.answer[0, best] = probability

    def infer(self, model: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        assert model == "source_classifier"
        self.shown = inputs["thumbnail"]
        return {"source_probability": self.answer}

    def model_versions(self) -> dict[str, tuple[str, str]]:
        return {}


@pytest.mark.parametrize("place", range(len(CATEGORIES)))
def test_the_likeliest_category_is_told(place: int) -> None:
    code, probability = classify(np.zeros((30, 40, 3), np.uint8), Classifier(place, 0.9))
    assert code == CATEGORIES[place].code
    assert probability == pytest.approx(0.9)


@pytest.mark.parametrize("likely", [0.2, 0.49, 0.5, 0.51, 1.0])
def test_an_unsure_category_is_not_told_but_its_probability_is(likely: float) -> None:
    code, probability = classify(np.zeros((30, 40, 3), np.uint8), Classifier(4, likely))
    assert (code == "0005") == (likely >= SURE_CATEGORY)
    assert probability == pytest.approx(likely)


def test_the_network_is_shown_the_thumbnail_in_planes() -> None:
    image = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    classifier = Classifier(0, 1.0)
    classify(image, classifier)
    assert classifier.shown.shape == (1, *SPECS["source_classifier"].inputs[0].shape)
    assert np.array_equal(classifier.shown[0].transpose(1, 2, 0), thumbnail(image))


@pytest.mark.parametrize(
    ("shape", "content"),
    [
        ((1152, 1440), (456, 456)),
        ((2304, 2880), (456, 456)),
        ((300, 375), (456, 456)),
        ((1000, 2500), (228, 456)),
        ((2304, 1440), (456, 228)),
        ((1, 3000), (1, 456)),
        ((3000, 1), (456, 1)),
    ],
)
def test_a_thumbnail_is_the_letterboxed_picture_squeezed_to_a_square(
    shape: tuple[int, int], content: tuple[int, int]
) -> None:
    square = thumbnail(np.full((*shape, 3), 250, np.uint8))
    assert square.shape == (456, 456, 3) and square.dtype == np.uint8
    filled = (square != MARGIN_GREY).all(axis=2)
    rows, columns = np.flatnonzero(filled.any(axis=1)), np.flatnonzero(filled.any(axis=0))
    assert (len(rows), len(columns)) == content
    assert filled[np.ix_(rows, columns)].all() and filled.sum() == content[0] * content[1]
    for place in (rows, columns):
        assert abs(place[0] - (455 - place[-1])) <= 1


@pytest.mark.parametrize("shape", [(900, 1125), (2304, 2880), (228, 285)])
def test_a_thumbnail_shows_the_picture_where_it_is(shape: tuple[int, int]) -> None:
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    image = np.stack([255 * x / shape[1], 255 * y / shape[0], np.full(shape, 90)], axis=-1).astype(np.uint8)
    square = thumbnail(image).astype(float)
    places = (np.arange(456) + 0.5) / 456 * 255
    assert np.abs(square[..., 0] - places).max() < 2
    assert np.abs(square[..., 1] - places[:, None]).max() < 2


def test_stripes_finer_than_a_thumbnail_come_out_grey() -> None:
    image = np.zeros((2304, 2880, 3), np.uint8)
    image[:, ::2] = 200
    assert np.abs(thumbnail(image).astype(int) - 100).max() <= 20
