"""From annotated slices in native pixels to whole slices in native pixels."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_networks
import torch
from propagation_doubles import Matcher

from flarekit.config.preprocessing import PreprocessingConfig
from flarekit.config.propagation import PropagationConfig
from flarekit.data.slices import VolumeSlices
from flarekit.models import STCN
from flarekit.propagation import fill_slices
from flarekit.volumes import Volume

SHAPE = (50, 40, 6)  # columns, rows and slices of the file
PREPROCESSING = PreprocessingConfig(spacing_mm=2.0, canvas=64)


@pytest.fixture
def slices() -> VolumeSlices:
    """A CT of two halves, air in front and soft tissue behind, the same on every slice."""
    hu = np.full(SHAPE, -1000, dtype=np.int16)
    hu[:, 20:] = 100
    return VolumeSlices(Volume.from_source(hu, np.diag([-1.5, -1.5, 4.0, 1.0])), PREPROCESSING)


@pytest.fixture
def drawn() -> np.ndarray:
    """The back half as object 0, with one ragged pixel that no network would give back."""
    classes = np.zeros((40, 50), dtype=np.uint8)
    classes[20:] = 1
    classes[3, 7] = 1
    return classes


def test_native_slices_are_filled_and_the_drawn_one_is_kept(slices: VolumeSlices, drawn: np.ndarray) -> None:
    filled = {f.z: f for f in fill_slices(Matcher(), slices, {2: drawn}, 1, PropagationConfig(top_k=1))}
    assert sorted(filled) == list(range(6))
    assert filled[2].classes is drawn
    for z in (0, 5):
        assert filled[z].classes.shape == drawn.shape and filled[z].classes.dtype == np.uint8
        assert not filled[z].classes[:12].any()
        assert filled[z].classes[28:, 10:40].all()


def test_probabilities_of_a_filled_slice_sum_to_one_and_agree_with_its_classes(slices, drawn: np.ndarray) -> None:
    results = fill_slices(Matcher(), slices, {2: drawn}, 1, PropagationConfig(top_k=1), probabilities=True)
    filled = {f.z: f for f in results}
    assert filled[2].probabilities is None
    planes = filled[3].probabilities.whole([2], (4, 40, 50))
    assert torch.allclose(planes.sum(dim=0), torch.ones(40, 50))
    assert np.array_equal(planes.argmax(dim=0).numpy() == 2, filled[3].classes == 1)
    assert not planes[[1, 3]].any() and (planes[0, :8] > 0.99).all()


def test_only_the_pixels_of_annotated_objects_are_fixed(slices: VolumeSlices, drawn: np.ndarray) -> None:
    # Object 1 is annotated on slice 2 alone, as the back half; slice 4 fixes object 0 in a corner of it.
    corner = np.zeros_like(drawn)
    corner[34:, 40:] = 1
    known = {2: np.array([False, True]), 4: np.array([True, False])}
    annotated = {2: (drawn * 2).astype(np.uint8), 4: corner}
    result = fill_slices(Matcher(), slices, annotated, 2, PropagationConfig(top_k=1), frame_mask=known)
    filled = {f.z: f.classes for f in result}
    assert (filled[4][corner == 1] == 1).all()
    assert (filled[4] == 1).sum() == corner.sum()
    assert (filled[4][28:32, 10:40] == 2).all()
    assert ((filled[2] == 2) == (drawn == 1)).all()


def test_an_untrained_network_still_gives_whole_slices(slices: VolumeSlices, drawn: np.ndarray) -> None:
    torch.manual_seed(0)
    for filled in fill_slices(STCN(tiny_networks.STCN), slices, {0: drawn}, 1, PropagationConfig(memory_every=2)):
        assert filled.classes.shape == (40, 50)
        assert filled.confidence.shape == (1,)
