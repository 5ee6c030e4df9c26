"""Slice stores: what goes in comes out, slice by slice, from any process, and broken ones are named."""

from __future__ import annotations

import builtins
import json
import multiprocessing
import pickle
import random
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from flarekit.config.preprocessing import WINDOWS
from flarekit.data.case_file import StoredCase
from flarekit.data.case_header import CaseHeader
from flarekit.data.case_writing import count_voxels, write_case
from flarekit.data.compression import COMPRESSIONS
from flarekit.data.store import SliceStore, StoreConfig
from flarekit.data.windows import window_slices
from flarekit.errors import InputError, MissingDependency, OutputError, UsageError
from flarekit.labels import FLARE22
from flarekit.volumes import Volume

AFFINE = np.array([[-0.7, 0, 0.1, 5], [0, 0, 2.5, -8], [0, -0.9, 0, 30], [0, 0, 0, 1]])  # swapped, flipped, sheared
RNG = np.random.default_rng(5)
CT = Volume.from_source(RNG.integers(-1100, 1500, (6, 3, 5)).astype(np.int16), AFFINE)  # Z H W = 3 5 6
CLASSES = RNG.integers(0, 14, CT.array.shape).astype(np.uint8)
ALL = tuple(range(1, 14))


def header(name: str = "a", **fields) -> CaseHeader:
    given = {"source_name": f"{name}.nii.gz", "source_sha256": "00", "label_set": FLARE22}
    return CaseHeader(name=name, source=CT.source, **(given | fields))


def store_with(path: Path, *headers: CaseHeader, compression: str = "bitshuffle-lz4") -> SliceStore:
    store = SliceStore.create(path, StoreConfig(labels=FLARE22, baked=headers[0].baked, compression=compression))
    for one in headers:
        classes = CLASSES if one.labelled else None
        write_case(store.case_path(one.name), one, CT.array, classes, compression=compression)
    return store


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_case_comes_back_exactly(tmp_path, compression):
    store_with(tmp_path, header(labelled=ALL, labels_sha256="11"), compression=compression)
    store = SliceStore.open(tmp_path)
    case = store.case("a")

    assert store.cases == ["a"] and store.labels == FLARE22
    assert (case.name, case.depth, case.shape, case.labelled) == ("a", 3, (3, 5, 6), True)
    assert case.header.source_sha256 == "00" and case.header.labels_sha256 == "11"
    assert np.array_equal(case.affine, CT.affine) and case.spacing_mm == CT.spacing_mm
    for z in range(3):
        assert np.array_equal(case.hu(z), CT.array[z]) and case.hu(z).dtype == np.int16
        assert np.array_equal(case.labels_at(z), CLASSES[z])
    assert np.array_equal(case.label_voxels, count_voxels(CLASSES, 14))


def test_the_way_back_to_the_source_is_stored(tmp_path):
    case = store_with(tmp_path, header(labelled=ALL)).case("a")
    volume, labels = case.volume(), case.label_volume()
    assert np.array_equal(volume.array, CT.array) and np.array_equal(labels.array, CLASSES)
    assert np.array_equal(volume.to_source_axes(), CT.to_source_axes())
    assert np.array_equal(volume.source.affine, AFFINE)


def test_windows_are_applied_as_a_slice_is_read(tmp_path):
    case = store_with(tmp_path, header()).case("a")
    for name in ("paper", "none"):
        image = case.image(1, WINDOWS[name])
        assert image.dtype == torch.uint8 and image.shape == (3, 5, 6)
        assert torch.equal(image, window_slices(torch.tensor(CT.array[1].copy()), WINDOWS[name]))


def test_baked_windows_replace_the_hu(tmp_path):
    case = store_with(tmp_path, header(baked=WINDOWS["paper"])).case("a")
    expected = window_slices(torch.tensor(CT.array[2].copy()), WINDOWS["paper"])
    assert torch.equal(case.image(2, WINDOWS["paper"]), expected)
    case.close()
    with h5py.File(tmp_path / "a.h5") as file:
        assert "hu" not in file and file["image"].shape == (3, 3, 5, 6)
    with pytest.raises(InputError, match="paper"):
        case.image(2, WINDOWS["none"])
    for read in (lambda: case.hu(0), case.volume):
        with pytest.raises(InputError, match="no HU"):
            read()


def test_a_case_without_labels(tmp_path):
    case = store_with(tmp_path, header()).case("a")
    assert not case.labelled
    assert case.label_voxels is None and case.label_volume() is None
    with pytest.raises(ValueError, match="holds no labels"):
        case.labels_at(0)


def test_partial_labels_leave_background_and_other_organs_open(tmp_path):
    case = store_with(tmp_path, header(labelled=(1, 3))).case("a")
    for z in range(3):
        known = np.isin(CLASSES[z], (1, 3))
        assert np.array_equal(case.labels_at(z), np.where(known, CLASSES[z], 255))
    assert case.label_voxels[:, [0, 2, *range(4, 14)]].sum() == 0
    assert case.label_voxels[:, 1].sum() == (CLASSES == 1).sum()


def test_voxels_are_counted_by_slice_and_class():
    classes = np.array([[[0, 2, 2], [255, 0, 0]], [[1, 1, 1], [1, 255, 255]]], dtype=np.uint8)
    assert count_voxels(classes, 3).tolist() == [[3, 0, 2], [0, 4, 0]]


def test_attributes_can_be_read_without_flarekit(tmp_path):
    store_with(tmp_path, header(labelled=(2,)))
    with h5py.File(tmp_path / "a.h5") as file:
        attributes = dict(file.attrs)
    assert (attributes["format"], attributes["version"]) == (b"flarekit-case", 1)
    assert np.array_equal(attributes["affine"], AFFINE)
    assert attributes["shape"].tolist() == [6, 3, 5] and attributes["axes"].tolist() == [1, 2, 0]
    assert attributes["labelled"].tolist() == [2]
    assert json.loads(attributes["label_set"])["names"][1] == "right_kidney"
    assert attributes["source_name"].decode() == "a.nii.gz" and attributes["windows"] == b""


def _sum_in_child(case, z, queue):
    queue.put(int(case.hu(z).sum()))


def test_an_open_case_can_be_read_in_a_forked_process(tmp_path):
    case = store_with(tmp_path, header(), compression="gzip").case("a")
    case.hu(0)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_sum_in_child, args=(case, 1, queue))
    child.start()
    assert queue.get(timeout=60) == CT.array[1].sum()
    child.join()
    assert np.array_equal(case.hu(1), CT.array[1])


def test_a_store_and_its_cases_pickle(tmp_path):
    store = store_with(tmp_path, header())
    store.case("a").hu(0)
    again = pickle.loads(pickle.dumps(store))
    assert np.array_equal(again.case("a").hu(2), CT.array[2])


def test_few_files_stay_open_however_many_cases_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr("flarekit.data.store._MAX_OPEN_CASES", 2)
    store = store_with(tmp_path, *(header(name) for name in "abcd"), compression="none")
    cases = [store.case(name) for name in store.cases]
    for case in cases:
        case.hu(0)
    store.case("a")
    open_files = [case.name for case in store._open.values()]
    assert open_files == ["d", "a"]
    assert np.array_equal(cases[1].hu(1), CT.array[1]), "an evicted case opens its file again"


def test_a_missing_plugin_is_named_and_gzip_goes_without(tmp_path, monkeypatch):
    store_with(tmp_path / "lz4", header())
    store_with(tmp_path / "gzip", header(), compression="gzip")
    plain_import = builtins.__import__

    def without_plugin(name, *args, **kwargs):
        if name == "hdf5plugin":
            raise ImportError(name)
        return plain_import(name, *args, **kwargs)

    monkeypatch.delitem(sys.modules, "hdf5plugin", raising=False)
    monkeypatch.setattr(builtins, "__import__", without_plugin)
    with pytest.raises(MissingDependency, match="hdf5plugin"):
        SliceStore.open(tmp_path / "lz4").case("a")
    assert np.array_equal(SliceStore.open(tmp_path / "gzip").case("a").hu(0), CT.array[0])


def test_unknown_compression_is_refused(tmp_path):
    with pytest.raises(UsageError, match="zip9"):
        store_with(tmp_path, header(), compression="zip9")
    assert list(tmp_path.glob("*.h5")) == []


def test_cases_are_not_replaced_silently(tmp_path):
    store = store_with(tmp_path, header())
    with pytest.raises(OutputError, match="exists"):
        write_case(store.case_path("a"), header(), CT.array, compression="none")
    with pytest.raises(OutputError, match="exists"):
        SliceStore.create(tmp_path, StoreConfig(labels=FLARE22))


def test_a_store_takes_one_kind_of_cases(tmp_path):
    config = StoreConfig(labels=FLARE22)
    baked = StoreConfig(labels=FLARE22, baked=WINDOWS["paper"])
    late = SliceStore.open_or_plan(tmp_path / "store", baked)
    store = SliceStore.open_or_plan(tmp_path / "store", config)
    assert not (tmp_path / "store").exists(), "a store is made with its first case"
    store.settle(), store.settle()
    assert SliceStore.open_or_plan(tmp_path / "store", config).config == config
    for refused in (late.settle, lambda: SliceStore.open_or_plan(tmp_path / "store", baked)):
        with pytest.raises(OutputError, match="settings: HU, not baked windows 'paper'"):
            refused()


def test_what_is_no_store(tmp_path):
    with pytest.raises(InputError, match="no store.json"):
        SliceStore.open(tmp_path / "none")
    (tmp_path / "store.json").write_text("{}")
    with pytest.raises(InputError, match="store.json") as caught:
        SliceStore.open(tmp_path)
    assert "flarekit preprocess" in caught.value.remedy
    (tmp_path / "store.json").write_text('{"format": "flarekit-slice-store", "version": 99}')
    with pytest.raises(InputError, match="99"):
        SliceStore.open(tmp_path)
    with pytest.raises(InputError, match="cannot be read") as caught:
        SliceStore.open(tmp_path / ("n" * 300))
    assert "path" in caught.value.remedy


def test_a_name_that_is_too_long_names_no_case_and_no_store(tmp_path):
    store = store_with(tmp_path, header(), compression="none")
    with pytest.raises(InputError, match="has no case"):
        store.case("n" * 300)
    with pytest.raises(OutputError, match="too long"):
        SliceStore.open_or_plan(tmp_path / ("n" * 300), store.config)


def test_broken_cases_are_named(tmp_path):
    store = store_with(tmp_path, header())
    with pytest.raises(InputError, match="'b'"):
        store.case("b")
    whole = store.case_path("a").read_bytes()
    store.case_path("cut").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="cut.h5"):
        store.case("cut")
    with h5py.File(store.case_path("other"), "w") as file:
        file["hu"] = np.zeros((1, 2, 3))
    with pytest.raises(InputError, match="other.h5"):
        store.case("other")


def test_a_damaged_slice_is_an_error_that_names_its_file(tmp_path):
    case = store_with(tmp_path, header(labelled=ALL), compression="gzip").case("a")
    with h5py.File(case.path) as file:
        damaged = [file[name].id.get_chunk_info(1).byte_offset for name in ("hu", "labels")]
    content = bytearray(case.path.read_bytes())
    for start in damaged:
        content[start : start + 8] = bytes(8)
    case.path.write_bytes(content)
    reads = (lambda: case.hu(1), lambda: case.image(1, WINDOWS["paper"]), case.volume)
    for read in (*reads, lambda: case.labels_at(1), case.label_volume):
        with pytest.raises(InputError, match=r"a\.h5: is damaged") as caught:
            read()
        assert "--overwrite" in caught.value.remedy
    assert np.array_equal(case.hu(0), CT.array[0])


def test_foreign_hdf5_files_are_named(tmp_path, run_cli):
    store = store_with(tmp_path, header(), compression="none")
    with h5py.File(store.case_path("foreign"), "w") as file:
        file.create_group("entry")["data"] = np.zeros(3)
    outcome = run_cli("store", "info", tmp_path)
    assert outcome.code == 3 and "foreign.h5: is not a case of a slice store" in outcome.stderr
    with h5py.File(store.case_path("foreign"), "a") as file:
        file.attrs.update({"format": "flarekit-case", "version": [1, 2]})
    with pytest.raises(InputError, match=r"foreign\.h5: is not a case"):
        store.case("foreign")


def test_half_written_cases_are_not_listed(tmp_path):
    store = store_with(tmp_path, header())
    (tmp_path / ".tmp-xyz.h5").touch()
    assert store.cases == ["a"]


def mutated(content: bytes, chance: random.Random) -> bytes:
    """Bytes changed, zeroed or cut off, among the headers as often as among the voxels."""
    changed = bytearray(content)
    place = chance.randrange(len(content) if chance.random() < 0.5 else min(4000, len(content)))
    match chance.randrange(3):
        case 0:
            changed[place] ^= chance.randrange(1, 256)
        case 1:
            changed[place : place + 64] = bytes(len(changed[place : place + 64]))
        case _:
            del changed[place:]
    return bytes(changed)


@pytest.mark.parametrize("number", [150, pytest.param(1000, marks=pytest.mark.slow)])
def test_whatever_happens_to_a_file_its_case_is_refused_or_right(tmp_path, number):
    whole = store_with(tmp_path / "whole", header(labelled=ALL)).case("a")
    expected = pickle.dumps((whole.header, whole.volume().array, whole.label_volume().array, whole.label_voxels))
    content, chance, refused = whole.path.read_bytes(), random.Random(number), 0
    for attempt in range(number):
        path = tmp_path / f"{attempt}.h5"
        path.write_bytes(mutated(content, chance))
        try:
            case = StoredCase(path)
            found = (case.header, case.volume().array, case.label_volume().array, case.label_voxels)
            case.close()
        except InputError:
            refused += 1
        else:
            assert pickle.dumps(found) == expected, f"attempt {attempt} reads something else"
        path.unlink()
    assert 0.5 * number < refused < number
