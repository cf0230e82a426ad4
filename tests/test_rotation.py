"""Rotations: the formulas against one another, and cases that one can picture."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from surefoot.models.rotation import multiply, rotate_inverse, rotation_matrix, tilt

HALF = math.sqrt(0.5)
QUATERNIONS = (
    st.lists(st.floats(-1, 1), min_size=4, max_size=4)
    .filter(lambda q: math.hypot(*q) > 0.1)
    .map(lambda q: np.array(q) / math.hypot(*q))
)


def test_a_quarter_turn_about_z_takes_x_to_y() -> None:
    quarter = np.array([HALF, 0, 0, HALF])
    assert rotation_matrix(quarter) @ [1, 0, 0] == pytest.approx([0, 1, 0])
    assert rotate_inverse(quarter, np.array([0.0, 1.0, 0.0])) == pytest.approx([1, 0, 0])
    assert tilt(quarter) == 0.0
    assert tilt(np.array([HALF, 0, HALF, 0])) == pytest.approx(math.pi / 2)


@given(QUATERNIONS)
def test_the_matrix_is_a_rotation(quaternion: np.ndarray) -> None:
    matrix = rotation_matrix(quaternion)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(matrix) == pytest.approx(1)
    assert math.cos(tilt(quaternion)) == pytest.approx(matrix[2, 2])


@given(QUATERNIONS, QUATERNIONS)
def test_quaternions_and_matrices_say_the_same(a: np.ndarray, b: np.ndarray) -> None:
    product = rotation_matrix(a) @ rotation_matrix(b)
    np.testing.assert_allclose(rotation_matrix(multiply(a, b)), product, atol=1e-9)
    vector = np.array([0.3, -1.2, 2.0])
    expected = rotation_matrix(a).T @ vector
    np.testing.assert_allclose(rotate_inverse(a, vector), expected, atol=1e-9)


def test_leading_dimensions_are_free() -> None:
    many = np.array([[[1.0, 0, 0, 0], [HALF, 0, 0, HALF]]])
    vector = np.array([0.0, 0.0, 1.0])
    assert rotation_matrix(many).shape == (1, 2, 3, 3)
    assert rotation_matrix(many)[0, 1] @ [1, 0, 0] == pytest.approx([0, 1, 0])
    assert rotate_inverse(many, vector).shape == (1, 2, 3)
    assert multiply(many, many).shape == (1, 2, 4)
    assert tilt(many).shape == (1, 2)
