from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cardioscan.errors import RefusalCode, StageError
from cardioscan.imaging.geometry import orient, orientation_matrix, transform_points
from cardioscan.locate import alignment as a
from cardioscan.page.template import STANDARD_PAGE

LABELS = STANDARD_PAGE.labels
PLACES = STANDARD_PAGE.label_points()
CLASSES = np.array([label.class_id for label in LABELS])
CORNERS = np.array([[0, 0], [2199, 0], [2199, 1699], [0, 1699]], float)


def page_view(seed: int, k: int = 0) -> np.ndarray:
    """A believable homography from the reference frame to the network's input, the page in orientation ``k``."""
    rng = np.random.default_rng(seed)
    angle, size = rng.uniform(-0.25, 0.25), rng.uniform(0.4, 0.62)
    turn = size * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centred = np.array([[1, 0, -1100], [0, 1, -850], [0, 0, 1]], float)
    bend = np.eye(3)
    bend[2, :2] = rng.uniform(-1.2e-4, 1.2e-4, 2)
    place = np.eye(3)
    place[:2, :2] = turn
    oriented = orientation_matrix(k, 1, 1)
    oriented[:2, 2] = 0
    shift = np.array([[1, 0, 720 + rng.uniform(-60, 60)], [0, 1, 576 + rng.uniform(-60, 60)], [0, 0, 1]])
    matrix = shift @ oriented @ place @ bend @ centred
    return matrix / matrix[2, 2]


def names_seen(matrix, keep=None, noise=0.0, rng=None, extra=()):
    keep = np.arange(len(LABELS)) if keep is None else np.asarray(keep)
    points = transform_points(matrix, PLACES[keep])
    if noise:
        points = points + rng.normal(0, noise, points.shape)
    classes = CLASSES[keep]
    for class_id, point in extra:
        classes, points = np.append(classes, class_id), np.vstack([points, point])
    return a.LabelKeypoints(classes.astype(np.int64), points, np.full(len(classes), 0.9))


def corner_error(found, matrix):
    return np.linalg.norm(transform_points(found, CORNERS) - transform_points(matrix, CORNERS), axis=1).max()


class TestLetterbox:
    @pytest.mark.parametrize("shape", [(1700, 2200), (2000, 1500), (300, 400), (900, 900), (500, 2000)])
    def test_matrix_follows_the_content(self, shape):
        y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float64)
        image = np.stack([255 * x / shape[1], 255 * y / shape[0], np.full(shape, 90)], axis=-1).astype(np.uint8)
        canvas, matrix = a.letterbox(image)
        assert canvas.shape == (1152, 1440, 3)
        assert canvas.dtype == np.uint8
        places = np.array([[0.3, 0.4], [0.5, 0.5], [0.7, 0.2], [0.9, 0.9]]) * (shape[1], shape[0])
        for (px, py), (cx, cy) in zip(places, transform_points(matrix, places), strict=True):
            seen = canvas[round(cy), round(cx)].astype(float)
            assert abs(seen[0] - 255 * px / shape[1]) < 2
            assert abs(seen[1] - 255 * py / shape[0]) < 2

    @pytest.mark.parametrize(("shape", "mirrored"), [((1700, 2200), False), ((2200, 1700), False)])
    def test_fills_the_input_and_never_mirrors(self, shape, mirrored):
        canvas, matrix = a.letterbox(np.zeros((*shape, 3), np.uint8), fill=200)
        assert (np.linalg.det(matrix) < 0) == mirrored
        assert (canvas == 0).mean() > 0.9
        edges = transform_points(matrix, np.array([[-0.5, -0.5], [shape[1] - 0.5, shape[0] - 0.5]]))
        assert np.isclose(np.abs(edges[1] - edges[0])[0], 1440)

    def test_the_right_size_passes_through(self):
        image = np.random.default_rng(0).integers(0, 256, (1152, 1440, 3), dtype=np.uint8)
        canvas, matrix = a.letterbox(image)
        assert np.array_equal(canvas, image)
        assert np.allclose(matrix, np.eye(3))


class TestViews:
    def test_maps_come_back(self):
        image = np.random.default_rng(0).random((6, 9, 3))
        views = a.flip_views(image)
        assert len(views) == 4
        for view, flipped in enumerate(views):
            back = a.unflip_label_probability(np.moveaxis(flipped, -1, 0), view)
            assert np.array_equal(np.moveaxis(back, 0, -1), image)

    @pytest.mark.parametrize("k", range(8))
    @pytest.mark.parametrize("view", range(4))
    def test_orientation_is_permuted_as_the_flip_does(self, k, view):
        upright = np.arange(9).reshape(3, 3)
        flipped = a.flip_views(orient(upright, k))[view]
        (seen,) = [other for other in range(8) if np.array_equal(orient(upright, other), flipped)]
        answer = np.zeros(8)
        answer[seen] = 1
        assert np.argmax(a.unflip_orientation_probability(answer, view)) == k

    def test_average(self):
        rng = np.random.default_rng(1)
        labels, turns = rng.random((14, 5, 7)).astype(np.float32), rng.random(8).astype(np.float32)
        views = np.stack([a.unflip_label_probability(labels, view) for view in range(4)])
        orders = np.stack([a.unflip_orientation_probability(turns, view) for view in range(4)])
        # Flips undo themselves, so what is flipped once is what the network would have said.
        mean_labels, mean_turns = a.average_views(views, orders)
        assert np.allclose(mean_labels, labels)
        assert np.allclose(mean_turns, turns)
        assert mean_labels.dtype == mean_turns.dtype == np.float32

    def test_bytes_are_probabilities(self):
        mean_labels, _ = a.average_views(np.full((1, 14, 2, 2), 255, np.uint8), np.zeros((1, 8), np.float32))
        assert np.allclose(mean_labels, 1)

    def test_unknown_view(self):
        with pytest.raises(ValueError, match="view"):
            a.unflip_label_probability(np.zeros((1, 2, 2)), 4)


@given(k=st.integers(0, 7), height=st.integers(1, 6), width=st.integers(1, 6))
@settings(deadline=None)
def test_every_orientation_is_undone_exactly(k, height, width):
    upright = np.arange(height * width * 3).reshape(height, width, 3)
    seen = orient(upright, k)
    back, matrix = a.undo_orientation(seen, k)
    assert np.array_equal(back, upright)
    ys, xs = np.mgrid[: seen.shape[0], : seen.shape[1]]
    moved = transform_points(matrix, np.stack([xs, ys], axis=-1)).astype(int)
    assert np.array_equal(back[moved[..., 1], moved[..., 0]], seen)


def draw_names(matrix, keep=None, radius=10.0, classes=CLASSES):
    """The label map that a perfect network gives: discs with soft rims."""
    probability = np.zeros((14, 288, 360), np.float32)
    y, x = np.mgrid[:288, :360] * 4 + 1.5
    for place in range(len(LABELS)) if keep is None else keep:
        cx, cy = transform_points(matrix, PLACES[place])
        disc = np.clip((radius - np.hypot(x - cx, y - cy)) / 4 + 0.5, 0, 1)
        probability[classes[place]] = np.maximum(probability[classes[place]], disc)
    probability[0] = 1 - probability[1:].max(axis=0)
    return probability


class TestLabelKeypoints:
    @pytest.mark.parametrize("as_bytes", [False, True])
    def test_subcell_places_of_all_names(self, as_bytes):
        matrix = page_view(3)
        probability = draw_names(matrix)
        if as_bytes:
            probability = np.rint(probability * 255).astype(np.uint8)
        found = a.label_keypoints(probability)
        assert sorted(found.class_ids) == sorted(CLASSES)
        expected = transform_points(matrix, PLACES)[np.searchsorted(CLASSES, found.class_ids)]
        assert np.linalg.norm(found.points - expected, axis=1).max() < 0.5
        assert (found.scores > 0.7).all()

    def test_specks_and_faint_blobs_are_dropped(self):
        probability = np.zeros((14, 40, 50), np.float32)
        probability[3, 10, 10] = 0.9
        probability[4, 20:24, 20:24] = 0.2
        probability[0] = 1 - probability[1:].max(axis=0)
        assert len(a.label_keypoints(probability)) == 0

    def test_doubt_about_the_class_gives_two_candidates_at_one_place(self):
        probability = np.zeros((14, 40, 50), np.float32)
        probability[5, 10:15, 20:25], probability[13, 10:15, 20:25] = 0.45, 0.4
        probability[0] = 1 - probability.sum(axis=0)
        found = a.label_keypoints(probability)
        assert list(found.class_ids) == [5, 13]
        assert np.allclose(found.points, 4 * np.array([22, 12]) + 1.5)

    def test_a_smear_is_taken_apart_by_class(self):
        probability = np.zeros((14, 60, 90), np.float32)
        probability[2, 10:40, 10:20], probability[7, 10:40, 20:30] = 0.9, 0.9
        probability[0] = 1 - probability.sum(axis=0)
        assert set(a.label_keypoints(probability).class_ids) == {2, 7}

    def test_nothing_there(self):
        probability = np.zeros((14, 40, 50), np.float32)
        probability[0] = 1
        assert len(a.label_keypoints(probability)) == 0


class TestFitHomography:
    @given(seed=st.integers(0, 10_000), k=st.integers(0, 7))
    @settings(max_examples=25, deadline=None)
    def test_exact_names_give_the_page_in_any_orientation(self, seed, k):
        matrix = page_view(seed, k)
        found = a.fit_homography(names_seen(matrix))
        assert corner_error(found.homography, matrix) < 1.0
        assert found.orientation == k
        assert found.mirrored == (k >= 4)
        assert found.inliers.all()
        assert found.score > 0.85

    @pytest.mark.parametrize("seed", range(6))
    def test_noise_and_false_names(self, seed):
        rng = np.random.default_rng(seed)
        matrix = page_view(seed, seed % 8)
        places = transform_points(matrix, PLACES)
        swapped = [(int(CLASSES[2]), places[9]), (int(CLASSES[9]), places[2])]
        wild = [(int(c), rng.uniform([0, 0], [1440, 1152])) for c in rng.choice(CLASSES, 5)]
        keep = [0, 1, 3, 4, 5, 6, 7, 8, 12]
        found = a.fit_homography(names_seen(matrix, keep, 1.0, rng, swapped + wild))
        assert np.linalg.norm(transform_points(found.homography, PLACES) - places, axis=1).max() < 6
        assert found.inliers[: len(keep)].all()
        assert not found.inliers[len(keep) : len(keep) + 2].any()

    def test_two_names_of_the_same_text_may_be_confused(self):
        matrix = page_view(1)
        classes = CLASSES.copy()
        second = next(n for n, label in enumerate(LABELS) if label.class_id == 5)
        classes[second] = 13
        keypoints = a.LabelKeypoints(classes, transform_points(matrix, PLACES), np.full(len(classes), 0.9))
        assert a.fit_homography(keypoints).inliers.all()

    @pytest.mark.parametrize("keep", [[0, 3, 8, 11], [0, 1, 6, 10, 12], [1, 2, 5, 6]])
    def test_few_names(self, keep):
        matrix = page_view(5)
        found = a.fit_homography(names_seen(matrix, keep))
        apart = transform_points(found.homography, PLACES) - transform_points(matrix, PLACES)
        assert np.linalg.norm(apart, axis=1).max() < 12

    def test_one_false_class_among_five(self):
        matrix = page_view(5)
        keypoints = names_seen(matrix, [0, 3, 5, 8], extra=[(12, transform_points(matrix, PLACES[4]))])
        found = a.fit_homography(keypoints)
        assert list(found.inliers) == [True] * 4 + [False]

    def test_a_row_of_names_and_one_more_are_enough_for_an_affine_map(self):
        matrix = np.array([[0.6, 0.05, 40], [-0.05, 0.6, 90], [0, 0, 1]])
        found = a.fit_homography(names_seen(matrix, [0, 1, 2, 3, 9]))
        assert corner_error(found.homography, matrix) < 3

    def test_three_wide_apart(self):
        matrix = np.array([[0.6, 0.05, 40], [-0.05, 0.6, 90], [0, 0, 1]])
        assert corner_error(a.fit_homography(names_seen(matrix, [0, 3, 12])).homography, matrix) < 1

    def test_three_names_mean_a_mirrored_page_only_if_the_network_says_so(self):
        keypoints = names_seen(page_view(2, 4), [0, 3, 12])
        with pytest.raises(StageError) as caught:
            a.fit_homography(keypoints)
        assert caught.value.code is RefusalCode.ALIGNMENT_FAILED
        mirrored = np.zeros(8)
        mirrored[4] = 1
        assert a.fit_homography(keypoints, orientation_probability=mirrored).mirrored

    @pytest.mark.parametrize("keep", [[0, 1, 2, 3], [0, 5], [7]])
    def test_too_little_is_refused(self, keep):
        with pytest.raises(StageError) as caught:
            a.fit_homography(names_seen(page_view(0), keep))
        assert caught.value.code is RefusalCode.ALIGNMENT_FAILED

    def test_no_names(self):
        empty = a.LabelKeypoints(np.empty(0, np.int64), np.empty((0, 2)), np.empty(0))
        with pytest.raises(StageError) as caught:
            a.fit_homography(empty)
        assert caught.value.code is RefusalCode.NO_LABELS_FOUND

    @pytest.mark.parametrize("seed", range(5))
    def test_chance_is_no_page(self, seed):
        rng = np.random.default_rng(seed)
        points = rng.uniform([0, 0], [1440, 1152], (6, 2))
        keypoints = a.LabelKeypoints(rng.choice(CLASSES, 6, replace=False), points, np.full(6, 0.5))
        try:
            found = a.fit_homography(keypoints)
        except StageError:
            return
        assert found.score < 0.4

    @pytest.mark.parametrize("rng", [None, np.random.default_rng(3)])
    def test_many_candidates_stay_bounded(self, rng):
        draw = np.random.default_rng(0)
        matrix = page_view(4)
        wild = [(int(c), draw.uniform([0, 0], [1440, 1152])) for c in np.repeat(CLASSES, 2)]
        keypoints = names_seen(matrix, extra=wild)
        found = a.fit_homography(keypoints, rng=rng, max_sets=4000)
        assert corner_error(found.homography, matrix) < 3

    def test_from_the_map_to_the_image(self):
        """The whole of stage 0, from a perfect label map back to px of a portrait photo."""
        image = np.zeros((4000, 3000, 3), np.uint8)
        _, to_input = a.letterbox(image)
        matrix = page_view(7, 6)
        found = a.fit_homography(a.label_keypoints(draw_names(matrix)))
        assert corner_error(found.to_image(to_input), np.linalg.inv(to_input) @ matrix) < 12


def test_warp_to_aligned_puts_the_page_where_the_frame_says():
    image = np.full((3400, 4400, 3), 7, np.uint8)
    image[..., 0] = np.arange(4400) / 4400 * 255
    image[..., 1] = (np.arange(3400) / 3400 * 255)[:, None]
    reference_to_image = np.diag([2.0, 2.0, 1.0])
    aligned = a.warp_to_aligned(image, a.aligned_matrix(reference_to_image))
    assert aligned.shape == (1152, 1440, 3)
    for place in ([300.0, 300.0], [1100.0, 850.0], [2000.0, 1600.0]):
        cx, cy = STANDARD_PAGE.aligned.from_reference(np.array(place))
        seen = aligned[round(float(cy)), round(float(cx))].astype(float)
        assert abs(seen[0] - 2 * place[0] / 4400 * 255) < 2
        assert abs(seen[1] - 2 * place[1] / 3400 * 255) < 2
    assert (aligned[:40] == 128).all()
