"""nn.checkpoint: exact round trips, files that are whole or not there, and one error for every bad file."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minigrad as mg
import nn

DTYPES = ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", ">i2", ">f4", ">f8", "c8"]


@st.composite
def any_arrays(draw: st.DrawFn) -> np.ndarray:
    """Arrays of every dtype and number of axes, some empty, some views with any strides."""
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    array = draw(hnp.arrays(draw(st.sampled_from(DTYPES)), shape))
    array = array.transpose(draw(st.permutations(range(array.ndim))))
    return array[tuple(slice(None, None, draw(st.sampled_from([1, 2, -1]))) for _ in shape)]


@settings(max_examples=200)
@given(st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), any_arrays(), max_size=4))
def test_round_trip_is_exact(tmp_path_factory: Any, state: dict[str, np.ndarray]) -> None:
    path = tmp_path_factory.mktemp("exact") / "a.safetensors"
    nn.save(path, state)
    loaded = nn.load(path)
    assert loaded.keys() == state.keys()
    for name, array in state.items():
        assert loaded[name].dtype == array.dtype.newbyteorder("=")
        assert loaded[name].shape == array.shape
        assert loaded[name].tobytes() == array.astype(loaded[name].dtype).tobytes()
        assert loaded[name].flags.writeable


def test_tensors_and_metadata(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    nn.save(str(path), {"w": nn.Parameter([1.0]), "n": mg.tensor(3)}, {"step": "7", "text": "Ä"})
    assert nn.load(str(path)) == {"w": np.float32(1), "n": 3}
    assert nn.load_metadata(path) == {"step": "7", "text": "Ä"}
    nn.save(path, {})
    assert nn.load(path) == nn.load_metadata(path) == {}


def test_a_model_saved_and_loaded_computes_the_same(tmp_path: Path) -> None:
    first, second = nn.LSTM(3, 4, 2), nn.LSTM(3, 4, 2)
    nn.save(tmp_path / "a", first.state_dict())
    second.load_state_dict(nn.load(tmp_path / "a"))
    x = np.ones((5, 2, 3), "f4")
    assert (first(x)[0] == second(x)[0]).all()


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    nn.save(path, {"a": np.arange(6.0).reshape(2, 3), "b": np.array(1)}, {"k": "v"})
    return path


@pytest.mark.parametrize("load", [nn.load, nn.load_metadata])
def test_what_is_no_checkpoint_is_refused_by_name(saved: Path, load: Any) -> None:
    contents = saved.read_bytes()
    for bad in [b"", b"PK\x03\x04" + bytes(100), contents[:-1], contents[: len(contents) // 2], contents[:5]]:
        saved.write_bytes(bad)
        with pytest.raises(nn.CheckpointError, match=r"model\.safetensors.*cut short"):
            load(saved)
    with pytest.raises(nn.CheckpointError, match=r"missing\.safetensors.*there is none"):
        load(saved.with_name("missing.safetensors"))
    with pytest.raises(nn.CheckpointError, match="could not be read"):
        load(saved.parent)


@settings(max_examples=300)
@given(st.data())
def test_a_damaged_file_loads_or_raises_checkpoint_error(tmp_path_factory: Any, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("damaged") / "a"
    contents = bytearray(safetensors.numpy.save({"a": np.arange(3.0), "e": np.zeros((0, 2))}, {"k": "v"}))
    for _ in range(data.draw(st.integers(1, 3))):
        contents[data.draw(st.integers(0, len(contents) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(contents[: data.draw(st.integers(0, len(contents)))])
    for load in (nn.load, nn.load_metadata):
        with contextlib.suppress(nn.CheckpointError):  # anything else fails the test
            load(path)


def test_a_dtype_that_numpy_has_not_is_named(tmp_path: Path) -> None:
    header = b'{"a":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]}}'
    (tmp_path / "a").write_bytes(len(header).to_bytes(8, "little") + header + bytes(2))
    with pytest.raises(nn.CheckpointError, match="BF16"):
        nn.load(tmp_path / "a")


def test_a_full_disk_leaves_the_old_file_and_nothing_else(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    contents = saved.read_bytes()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(nn.CheckpointError, match=r"model\.safetensors.*No space left"):
        nn.save(saved, {"a": np.zeros(3)})
    assert saved.read_bytes() == contents
    assert list(saved.parent.iterdir()) == [saved]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(nn.CheckpointError, match="nowhere"):
        nn.save(tmp_path / "nowhere" / "a", {})


@pytest.mark.parametrize(
    ("state", "metadata", "error", "message"),
    [
        ({"a": {"b": np.zeros(1)}}, None, TypeError, "a to be an array or a tensor, got dict"),
        ({"a": np.zeros(1, complex)}, None, TypeError, "a has dtype complex128"),
        ({"a": np.zeros(1, "longdouble")}, None, TypeError, "a has dtype"),
        ({1: np.zeros(1)}, None, TypeError, "strings, got 1"),
        ({}, {"step": 7}, TypeError, "strings, got 7"),
        ({"__metadata__": np.zeros(1)}, None, ValueError, "belongs to the format"),
    ],
)
def test_what_can_not_be_saved_is_refused(saved: Path, state: Any, metadata: Any, error: Any, message: str) -> None:
    contents = saved.read_bytes()
    with pytest.raises(error, match=message):
        nn.save(saved, state, metadata)
    assert saved.read_bytes() == contents
