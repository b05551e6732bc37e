"""nn.checkpoint: exact round trips, files that are whole or not there, and one error for every bad file."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import resource
import signal
import stat
import sys
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minigrad as mg
import nn
from nn import checkpoint
from tests.children import CHILDREN

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
    assert list(loaded) == list(state)
    for name, array in state.items():
        assert loaded[name].dtype == array.dtype.newbyteorder("=")
        assert loaded[name].shape == array.shape
        assert loaded[name].tobytes() == array.astype(loaded[name].dtype).tobytes()
        assert loaded[name].flags.writeable


def same(a: Any, b: Any) -> bool:
    """Whether two states are equal to the bit and the type."""
    if isinstance(a, np.ndarray):
        return (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and (a == b or a != a)


simple = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
keys = st.integers() | st.text(st.characters(codec="utf-8", exclude_characters="/"), max_size=3)
trees = st.recursive(
    simple | hnp.arrays(st.sampled_from(["f4", "f8", "i8", "?"]), hnp.array_shapes(min_dims=0, min_side=0)),
    lambda below: (
        st.lists(below, max_size=3) | st.lists(below, max_size=3).map(tuple) | st.dictionaries(keys, below, max_size=3)
    ),
)


@settings(max_examples=200)
@given(trees)
def test_what_is_nested_comes_back_as_it_was(tmp_path_factory: Any, tree: Any) -> None:
    assume(not isinstance(tree, dict) or len({str(key) for key in tree}) == len(tree))
    path = tmp_path_factory.mktemp("nested") / "a"
    try:
        nn.save(path, {"tree": tree}, {"k": "v"})
    except ValueError as error:
        assert "two arrays" in str(error)  # noqa: PT017 (keys 1 and "1" side by side: rare, and right to refuse)
    else:
        assert same(nn.load(path), {"tree": tree})
        assert nn.load_metadata(path) == {"k": "v"}


def test_a_whole_run_comes_back_to_the_bit(tmp_path: Path) -> None:
    def make() -> tuple[Any, ...]:
        model = nn.Linear(2, 3)
        groups = [{"params": [model.weight], "lr": 0.1}, {"params": [model.bias], "betas": (0.5, 0.6)}]
        optimizer = nn.optim.Adam(groups, amsgrad=True)
        return model, optimizer, nn.optim.CosineAnnealingLR(optimizer, 9, 0.01), mg.generator(3)

    def learn(model: Any, optimizer: Any, schedule: Any, generator: Any) -> None:
        optimizer.zero_grad()
        model(generator.normal(size=(4, 2)).astype("f4")).sum().backward()
        optimizer.step()
        schedule.step()

    whole, stopped, resumed = make(), make(), make()
    stopped[0].load_state_dict(whole[0].state_dict())
    for _ in range(6):
        learn(*whole)
    for _ in range(3):
        learn(*stopped)
    names = ("model", "optimizer", "schedule")
    parts = {name: part.state_dict() for name, part in zip(names, stopped, strict=False)}
    nn.save(tmp_path / "run", {**parts, "generator": stopped[3].bit_generator.state})
    state = nn.load(tmp_path / "run")
    for name, part in zip(names, resumed, strict=False):
        part.load_state_dict(state[name])
    resumed[3].bit_generator.state = state["generator"]
    for _ in range(3):
        learn(*resumed)
    for a, b in zip(whole[:3], resumed, strict=False):
        assert same(a.state_dict(), b.state_dict())


@pytest.mark.parametrize(
    "structure",
    ["", "{", "[1]", "{}", '{"a": 1}', '{"array": "b"}', '{"array": [1]}', '{"set": []}', '{"list": {}}',
     '{"dict": [1]}', '{"dict": [[[], 1]]}', '{"dict": [[1.5, 1]]}', '{"list": [' * 50_000],
)  # fmt: skip
def test_a_structure_that_is_none_is_refused(tmp_path: Path, structure: str) -> None:
    arrays, metadata = {"a": np.zeros(1)}, {"minigrad.version": "1", "minigrad.structure": structure}
    metadata["minigrad.sha256"] = checkpoint.digest(arrays, metadata)
    safetensors.numpy.save_file(arrays, tmp_path / "a", metadata)
    with pytest.raises(nn.CheckpointError, match="what names them is not"):
        nn.load(tmp_path / "a")


def test_tensors_and_metadata(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    nn.save(str(path), {"w": nn.Parameter([1.0]), "n": mg.tensor(3)}, {"step": "7", "text": "Ä"})
    assert nn.load(str(path)) == {"w": np.float32(1), "n": 3}
    assert nn.load_metadata(path) == {"step": "7", "text": "Ä"}
    nn.save(path, {})
    assert nn.load(path) == nn.load_metadata(path) == {}


def test_equal_states_make_equal_files(tmp_path: Path) -> None:
    state, metadata = {"a": [np.ones(3), np.zeros(2, "i1")]}, {str(i): "" for i in range(10)}
    for name in "ab":
        nn.save(tmp_path / name, state, metadata)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


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
    os.mkfifo(saved.with_name("pipe"))
    for special in (saved.parent, saved.with_name("pipe"), Path("/dev/zero"), Path("/dev/null")):
        with pytest.raises(nn.CheckpointError, match=r"could not be read .*give a file"):
            load(special)
    for path in (saved / "below", saved.with_name("a" * 300)):
        with pytest.raises(nn.CheckpointError, match="could not be read"):
            load(path)


def test_every_flipped_bit_is_noticed(saved: Path) -> None:
    contents, state, metadata = saved.read_bytes(), nn.load(saved), nn.load_metadata(saved)
    padding = contents.rindex(b"}") + 1  # of the header: any white space will do there
    for bit in range(8 * len(contents)):
        damaged = bytearray(contents)
        damaged[bit // 8] ^= 1 << bit % 8
        saved.write_bytes(damaged)
        for load, expected in ((nn.load, state), (nn.load_metadata, metadata)):
            with contextlib.suppress(nn.CheckpointError):
                assert same(load(saved), expected)
                assert padding <= bit // 8


@pytest.mark.parametrize(("before", "after"), [("[2,3]", "[3,2]"), ('"F64"', '"I64"'), ('"v"', '"w"'), ('"k"', '"l"')])
def test_what_the_header_says_can_not_change(saved: Path, before: str, after: str) -> None:
    contents = saved.read_bytes()
    assert contents.count(before.encode()) == 1
    saved.write_bytes(contents.replace(before.encode(), after.encode()))
    with pytest.raises(nn.CheckpointError, match="its digest is another"):
        nn.load(saved)


@pytest.mark.parametrize("name", ["version", "structure", "sha256"])
def test_a_file_that_lost_a_name_is_not_taken_for_another_programs(saved: Path, name: str) -> None:
    contents = saved.read_bytes()
    saved.write_bytes(contents.replace(f"minigrad.{name}".encode(), f"damagred.{name}".encode()))
    with pytest.raises(nn.CheckpointError, match="damaged, or of another version"):
        nn.load(saved)


def test_a_file_of_another_version_is_refused(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved.write_bytes(saved.read_bytes().replace(b'"minigrad.version":"1"', b'"minigrad.version":"2"'))
    with pytest.raises(nn.CheckpointError, match="expected a file of minigrad's version 1"):
        nn.load(saved)


def test_the_file_of_another_program_is_read_as_it_is(tmp_path: Path) -> None:
    arrays = {"w": np.arange(6.0).reshape(2, 3), "n": np.array(1), "e": np.zeros((0, 2), "i4")}
    safetensors.numpy.save_file(arrays, tmp_path / "a", {"format": "pt"})
    assert same({name: nn.load(tmp_path / "a")[name] for name in arrays}, arrays)
    assert nn.load_metadata(tmp_path / "a") == {"format": "pt"}


def test_other_programs_read_the_arrays_of_every_file(saved: Path) -> None:
    assert same(dict(sorted(safetensors.numpy.load_file(saved).items())), nn.load(saved))
    nn.save(saved, {"model": [{"w": np.ones(2)}], "step": 3})
    assert same(safetensors.numpy.load_file(saved), {"model/0/w": np.ones(2)})


def test_a_dtype_that_numpy_has_not_is_named(tmp_path: Path) -> None:
    if "ml_dtypes" in sys.modules:
        pytest.skip("another library brought NumPy the dtype")
    header = b'{"a":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]}}'
    (tmp_path / "a").write_bytes(len(header).to_bytes(8, "little") + header + bytes(2))
    with pytest.raises(nn.CheckpointError, match=r"bfloat16.*save its arrays as F32"):
        nn.load(tmp_path / "a")


@pytest.mark.parametrize("shape", [[0, 2**62], [2**63, 0], [1] * 65])
def test_a_shape_that_numpy_has_not_is_refused(tmp_path: Path, shape: list[int]) -> None:
    end = 0 if 0 in shape else 4
    header = json.dumps({"a": {"dtype": "F32", "shape": shape, "data_offsets": [0, end]}}).encode()
    (tmp_path / "a").write_bytes(len(header).to_bytes(8, "little") + header + bytes(end))
    with pytest.raises(nn.CheckpointError, match="NumPy can't hold it"):
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


# ---------------------------------------------------------------------- processes that die, or save at once

OLD, NEW = b"old " * 1000, b"new " * 2000


def exit_code(target: Any, *args: Any) -> int | None:
    child = CHILDREN.Process(target=target, args=args)
    child.start()
    child.join()
    return child.exitcode


def write_until(path: Path, line: int) -> None:
    """Write a file, and die by SIGKILL before the given line of nn.checkpoint that this runs."""
    lines = 0

    def trace(frame: Any, event: str, arg: Any) -> Any:
        nonlocal lines
        lines += event == "line" and frame.f_code.co_filename == checkpoint.__file__
        if lines == line:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)
    checkpoint.write_whole(path, NEW)
    sys.settrace(None)


def test_whoever_dies_at_any_line_of_a_save_leaves_the_old_file_or_the_new(tmp_path: Path) -> None:
    path, found = tmp_path / "a", []
    for line in itertools.count(1):
        checkpoint.write_whole(path, OLD)  # which removes what the last one left
        assert list(tmp_path.iterdir()) == [path]
        code = exit_code(write_until, path, line)
        found.append(path.read_bytes())
        if code == 0:
            break
        assert code == -signal.SIGKILL
    renamed = found.index(NEW)
    assert 5 < renamed < len(found) - 2
    assert found == [OLD] * renamed + [NEW] * (len(found) - renamed)


def test_all_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    def fsync(descriptor: int) -> None:
        status = os.fstat(descriptor)
        calls.append("folder" if stat.S_ISDIR(status.st_mode) else status.st_size)

    def replace(source: Path, target: Path) -> None:
        calls.append("replace")
        Path(source).rename(target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    checkpoint.write_whole(tmp_path / "a", NEW)
    assert calls == [len(NEW), "replace", "folder"]


def write_half(path: Path) -> None:
    """Write a file, and die within the system call that writes it."""
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(NEW) // 2, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    checkpoint.write_whole(path, NEW)


def test_whoever_dies_half_way_through_a_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    checkpoint.write_whole(path, OLD)
    assert exit_code(write_half, path) == -signal.SIGXFSZ
    assert sorted(file.stat().st_size for file in tmp_path.iterdir()) == [len(OLD), len(NEW) // 2]
    assert path.read_bytes() == OLD
    checkpoint.write_whole(path, NEW)
    assert list(tmp_path.iterdir()) == [path]


def test_a_save_removes_what_was_abandoned_under_its_own_name_alone(tmp_path: Path) -> None:
    others = [tmp_path / name for name in (".a.notes.tmp", ".a.b.0123456789abcdef.tmp", ".b.0123456789abcdef.tmp")]
    abandoned = tmp_path / ".a.0123456789abcdef.tmp"
    for path in (*others, abandoned):
        path.write_bytes(b"")
    nn.save(tmp_path / "a", {})
    assert set(tmp_path.iterdir()) == {tmp_path / "a", *others}


def test_a_writer_that_was_taken_for_dead_writes_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, replace = tmp_path / "a", os.replace

    def overtaken(source: Path, target: Path) -> None:
        monkeypatch.setattr(os, "replace", replace)
        nn.save(path, {"from": "another"})
        replace(source, target)

    monkeypatch.setattr(os, "replace", overtaken)
    nn.save(path, {"from": "this one"})
    assert nn.load(path) == {"from": "this one"}
    assert list(tmp_path.iterdir()) == [path]


def save_often(path: Path, value: float) -> None:
    for _ in range(20):
        nn.save(path, {"a": np.full(1000, value), "b": np.full(3, value)})
        state = nn.load(path)
        assert np.unique(np.concatenate([state["a"], state["b"]])).size == 1


@pytest.mark.parametrize("pool", [ThreadPoolExecutor(2), ProcessPoolExecutor(2, CHILDREN)])
def test_two_may_save_to_one_file_at_once(tmp_path: Path, pool: Executor) -> None:
    path = tmp_path / "a"
    with pool:
        for future in [pool.submit(save_often, path, value) for value in (1.0, 2.0)]:
            future.result()
    state = nn.load(path)
    assert np.unique(np.concatenate([state["a"], state["b"]])).size == 1
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_a_link(saved: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(saved)
    nn.save(link, {"a": np.ones(2)})
    assert link.is_symlink()
    assert nn.load(saved)["a"].tolist() == [1, 1]


def test_a_folder_that_is_a_file_is_named(saved: Path) -> None:
    with pytest.raises(nn.CheckpointError, match="could not be written"):
        nn.save(saved / "below", {})


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(nn.CheckpointError, match="nowhere"):
        nn.save(tmp_path / "nowhere" / "a", {})


@pytest.mark.parametrize(
    ("state", "metadata", "error", "message"),
    [
        ({"a": {"b": {1.0}}}, None, TypeError, "a/b to be an array or a tensor, a number.*, got set"),
        (object(), None, TypeError, "the state to be an array .*, got object"),
        ({"a": {"b": np.zeros(1)}, "a/b": np.zeros(1)}, None, ValueError, "two arrays .* 'a/b'"),
        ({"a": {"1": np.zeros(1), 1: np.zeros(1)}}, None, ValueError, "two arrays .* 'a/1'"),
        ({}, {"minigrad.author": "1"}, ValueError, "belong to the format"),
        ({"a": np.zeros(1, complex)}, None, TypeError, "a has dtype complex128"),
        ({"a": np.zeros(1, "longdouble")}, None, TypeError, "a has dtype"),
        ({(1,): np.zeros(1)}, None, TypeError, r"keys of the state to be strings or integers, got \(1,\)"),
        ({"a": {None: 1}}, None, TypeError, "keys of a to be strings or integers, got None"),
        ({}, {"step": 7}, TypeError, "strings, got 7"),
        ({"__metadata__": np.zeros(1)}, None, ValueError, "belong to the format"),
    ],
)
def test_what_can_not_be_saved_is_refused(saved: Path, state: Any, metadata: Any, error: Any, message: str) -> None:
    contents = saved.read_bytes()
    with pytest.raises(error, match=message):
        nn.save(saved, state, metadata)
    assert saved.read_bytes() == contents
