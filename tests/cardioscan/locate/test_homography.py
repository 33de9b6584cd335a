from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cardioscan.backends.specs import NAME_PLACES
from cardioscan.errors import RefusalCode, StageError
from cardioscan.imaging.geometry import transform_points
from cardioscan.locate.homography import fit_homography
from cardioscan.locate.names import LabelKeypoints, label_keypoints
from cardioscan.locate.views import letterbox
from tests.cardioscan.locate.seen_names import CLASSES, PLACES, corner_error, draw_names, names_seen, page_view

LEVEL = np.array([[0.6, 0.05, 40], [-0.05, 0.6, 90], [0, 0, 1]])


@given(seed=st.integers(0, 10_000), k=st.integers(0, 7))
@settings(max_examples=25, deadline=None)
def test_exact_names_give_the_page_in_any_orientation(seed, k):
    matrix = page_view(seed, k)
    found = fit_homography(names_seen(matrix), NAME_PLACES)
    assert corner_error(found.homography, matrix) < 1.0
    assert found.orientation == k
    assert found.mirrored == (k >= 4)
    assert found.inliers.all()
    assert found.score > 0.85


@pytest.mark.parametrize("seed", range(6))
def test_noise_and_false_names(seed):
    rng = np.random.default_rng(seed)
    matrix = page_view(seed, seed % 8)
    places = transform_points(matrix, PLACES)
    swapped = [(int(CLASSES[2]), places[9]), (int(CLASSES[9]), places[2])]
    wild = [(int(c), rng.uniform([0, 0], [1440, 1152])) for c in rng.choice(CLASSES, 5)]
    keep = [0, 1, 3, 4, 5, 6, 7, 8, 12]
    found = fit_homography(names_seen(matrix, keep, 1.0, rng, swapped + wild), NAME_PLACES)
    assert np.linalg.norm(transform_points(found.homography, PLACES) - places, axis=1).max() < 6
    assert found.inliers[: len(keep)].all()
    assert not found.inliers[len(keep) : len(keep) + 2].any()


def test_two_names_of_the_same_text_may_be_confused():
    classes = np.where(CLASSES == 5, 13, CLASSES)
    keypoints = LabelKeypoints(classes, transform_points(page_view(1), PLACES), np.full(len(classes), 0.9))
    assert fit_homography(keypoints, NAME_PLACES).inliers.all()


@pytest.mark.parametrize("keep", [[0, 3, 8, 11], [0, 1, 6, 10, 12], [1, 2, 5, 6]])
def test_few_names(keep):
    matrix = page_view(5)
    found = fit_homography(names_seen(matrix, keep), NAME_PLACES)
    apart = transform_points(found.homography, PLACES) - transform_points(matrix, PLACES)
    assert np.linalg.norm(apart, axis=1).max() < 12


def test_one_false_class_among_five():
    matrix = page_view(5)
    keypoints = names_seen(matrix, [0, 3, 5, 8], extra=[(12, transform_points(matrix, PLACES[4]))])
    found = fit_homography(keypoints, NAME_PLACES)
    assert list(found.inliers) == [True] * 4 + [False]


@pytest.mark.parametrize(("keep", "apart_px"), [([0, 1, 2, 3, 9], 3), ([0, 3, 12], 1)], ids=["row", "three"])
def test_a_row_of_names_and_one_more_or_three_wide_apart_are_enough_for_an_affine_map(keep, apart_px):
    assert corner_error(fit_homography(names_seen(LEVEL, keep), NAME_PLACES).homography, LEVEL) < apart_px


@pytest.mark.parametrize(
    ("matrix", "keep"),
    [(page_view(0), [0, 1, 2, 3]), (page_view(0), [0, 5]), (page_view(0), [7]), (page_view(2, 4), [0, 3, 12])],
    ids=["row", "two", "one", "three of a mirrored page"],
)
def test_too_little_is_refused(matrix, keep):
    with pytest.raises(StageError) as caught:
        fit_homography(names_seen(matrix, keep), NAME_PLACES)
    assert caught.value.code is RefusalCode.ALIGNMENT_FAILED


@pytest.mark.parametrize("class_ids", [[], [0, 14, 99]], ids=["none", "unknown classes"])
def test_no_names(class_ids):
    count = len(class_ids)
    names = LabelKeypoints(np.array(class_ids, np.int64), np.ones((count, 2)), np.ones(count))
    with pytest.raises(StageError) as caught:
        fit_homography(names, NAME_PLACES)
    assert caught.value.code is RefusalCode.NO_LABELS_FOUND


@pytest.mark.parametrize("seed", range(5))
def test_chance_is_no_page(seed):
    rng = np.random.default_rng(seed)
    points = rng.uniform([0, 0], [1440, 1152], (6, 2))
    keypoints = LabelKeypoints(rng.choice(CLASSES, 6, replace=False), points, np.full(6, 0.5))
    try:
        found = fit_homography(keypoints, NAME_PLACES)
    except StageError:
        return
    assert found.score < 0.4


def test_many_candidates_stay_bounded():
    draw = np.random.default_rng(0)
    matrix = page_view(4)
    wild = [(int(c), draw.uniform([0, 0], [1440, 1152])) for c in np.repeat(CLASSES, 2)]
    found = fit_homography(names_seen(matrix, extra=wild), NAME_PLACES)
    assert corner_error(found.homography, matrix) < 3


def test_the_page_is_placed_in_the_picture_from_the_map_of_the_network():
    """From a perfect label map back to px of a portrait photo."""
    _, to_input = letterbox(np.zeros((4000, 3000, 3), np.uint8))
    matrix = page_view(7, 6)
    found = fit_homography(label_keypoints(draw_names(matrix)), NAME_PLACES)
    assert corner_error(found.to_image(to_input), np.linalg.inv(to_input) @ matrix) < 12
