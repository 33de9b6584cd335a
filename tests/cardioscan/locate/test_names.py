from __future__ import annotations

import numpy as np
import pytest

from cardioscan.imaging.geometry import transform_points
from cardioscan.locate.names import as_probability, label_keypoints
from tests.cardioscan.locate.seen_names import CLASSES, PLACES, draw_names, page_view


@pytest.mark.parametrize("as_bytes", [False, True])
def test_all_names_are_found_to_a_part_of_a_cell(as_bytes):
    matrix = page_view(3)
    probability = draw_names(matrix)
    if as_bytes:
        probability = np.rint(probability * 255).astype(np.uint8)
    found = label_keypoints(probability)
    assert sorted(found.class_ids) == sorted(CLASSES)
    expected = transform_points(matrix, PLACES)[np.searchsorted(CLASSES, found.class_ids)]
    assert np.linalg.norm(found.points - expected, axis=1).max() < 0.5
    assert (found.scores > 0.7).all()


def test_specks_and_faint_blobs_are_dropped():
    probability = np.zeros((14, 40, 50), np.float32)
    probability[3, 10, 10] = 0.9
    probability[4, 20:24, 20:24] = 0.2
    probability[0] = 1 - probability[1:].max(axis=0)
    assert len(label_keypoints(probability)) == 0


def test_doubt_about_the_class_gives_two_candidates_at_one_place():
    probability = np.zeros((14, 40, 50), np.float32)
    probability[5, 10:15, 20:25], probability[13, 10:15, 20:25] = 0.45, 0.4
    probability[0] = 1 - probability.sum(axis=0)
    found = label_keypoints(probability)
    assert list(found.class_ids) == [5, 13]
    assert np.allclose(found.points, 4 * np.array([22, 12]) + 1.5)


def test_a_smear_is_taken_apart_by_class():
    probability = np.zeros((14, 60, 90), np.float32)
    probability[2, 10:40, 10:20], probability[7, 10:40, 20:30] = 0.9, 0.9
    probability[0] = 1 - probability.sum(axis=0)
    assert set(label_keypoints(probability).class_ids) == {2, 7}


def test_a_class_keeps_its_three_best():
    probability = np.zeros((14, 40, 90), np.float32)
    for place, strength in enumerate((0.6, 0.9, 0.7, 0.95, 0.8)):
        probability[6, 10:15, 15 * place + 5 : 15 * place + 10] = strength
    probability[0] = 1 - probability.sum(axis=0)
    found = label_keypoints(probability)
    assert list(found.class_ids) == [6, 6, 6]
    assert np.allclose(found.points[:, 0], 4 * (15 * np.array([3, 1, 4]) + 7) + 1.5)


def test_nothing_there():
    probability = np.zeros((14, 40, 50), np.float32)
    probability[0] = 1
    assert len(label_keypoints(probability)) == 0


def test_probabilities_are_floats_or_bytes():
    assert np.array_equal(as_probability(np.array([0, 51, 255], np.uint8)), np.array([0, 0.2, 1], np.float32))
    floats = np.array([0.25, 1], np.float32)
    assert as_probability(floats) is floats
    assert as_probability(floats.astype(np.float64)).dtype == np.float32
