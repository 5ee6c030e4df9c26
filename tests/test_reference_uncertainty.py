"""Entropy of probabilities, worked out by hand for a pixel or two."""

from __future__ import annotations

import math

import pytest
import torch

from flarekit.reference.uncertainty import entropy


def test_certainty_is_zero_and_all_alike_is_one():
    probabilities = torch.tensor([[[1.0, 0.25]], [[0.0, 0.25]], [[0.0, 0.25]], [[0.0, 0.25]]])
    result = entropy(probabilities)
    assert result.shape == (1, 2) and result.dtype == torch.float32
    torch.testing.assert_close(result, torch.tensor([[0.0, 1.0]]))


def test_two_of_four_classes_alike_are_half_uncertain():
    # -2 * 1/2 ln 1/2 = ln 2, and ln 2 / ln 4 = 1/2.
    probabilities = torch.tensor([0.5, 0.0, 0.5, 0.0])[:, None, None].expand(4, 3, 5)
    torch.testing.assert_close(entropy(probabilities), torch.full((3, 5), 0.5))


def test_an_uneven_pair_is_as_its_formula_says():
    probabilities = torch.tensor([0.9, 0.1], dtype=torch.float64)[:, None, None]
    expected = -(0.9 * math.log(0.9) + 0.1 * math.log(0.1)) / math.log(2)
    assert entropy(probabilities).item() == pytest.approx(expected, abs=1e-6)


def test_rounding_takes_it_neither_below_zero_nor_above_one():
    probabilities = torch.tensor([[[1.0 + 1e-6, 1 / 3 + 1e-6]], [[-1e-6, 1 / 3]], [[0.0, 1 / 3]]])
    result = entropy(probabilities)
    assert result.isfinite().all() and result.min() >= 0 and result.max() <= 1


def test_nothing_is_uncertain_about_a_single_class():
    with pytest.raises(ValueError, match="two classes at least, got 1"):
        entropy(torch.ones(1, 3, 5))
