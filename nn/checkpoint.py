"""Saving and loading state in the safetensors format: no code in the file, no half-written files, no damaged ones.

The arrays lie in the file by name, where PyTorch reads them as well. Whatever else a state holds, an optimizer's groups
or a step number, stands as JSON in the file's metadata, beside a digest of all that the file says.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from minigrad.backend import to_numpy
from minigrad.creation import to_array

# What the metadata of each file have for `load`, all three or none: none is the file of another program.
OURS = "minigrad."
VERSION, STRUCTURE, SHA256 = f"{OURS}version", f"{OURS}structure", f"{OURS}sha256"
LONGEST = 100_000_000  # bytes of a header that the format allows


class CheckpointError(Exception):
    """A file that can't be saved, or that is not the checkpoint it should be."""


def save(path: str | Path, state: Any, metadata: Mapping[str, str] | None = None) -> None:
    """Write a state to a safetensors file, exactly; what was there before stays until all is written.

    Args:
        path: the file; by custom its name ends in .safetensors.
        state: arrays or tensors by name, as `Module.state_dict` gives them, of any shape and order in memory; or dicts
            (with strings or integers for keys), lists and tuples of them and of numbers, strings, booleans and None.
        metadata: short texts by name, which `load_metadata` gives back.

    Raises:
        TypeError: something else in the state, a dtype that the format has not, or metadata that are not strings.
        ValueError: two arrays whose names are one when written as paths, or a name that belongs to the format.
        CheckpointError: the file can't be written; an older one is untouched.

    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> path = Path(tempfile.mkdtemp(), "run.safetensors")
    >>> save(path, {"step": 7, "model": {"weight": np.eye(2)}})
    >>> load(path)
    {'step': 7, 'model': {'weight': array([[1., 0.],
           [0., 1.]])}}
    """
    path, metadata = Path(path), dict(metadata or {})
    if wrong := [text for pair in metadata.items() for text in pair if not isinstance(text, str)]:
        raise TypeError(f"save: expected metadata to be strings, got {wrong[0]!r}")
    arrays: dict[str, np.ndarray] = {}
    structure = taken_apart(state, "", arrays)
    if "__metadata__" in arrays or any(name.startswith(OURS) for name in metadata):
        raise ValueError(f"save: the names '__metadata__' and '{OURS}...' belong to the format; choose another")
    metadata |= {VERSION: "1", STRUCTURE: json.dumps(structure)}
    metadata[SHA256] = digest(arrays, metadata)
    header, values = with_metadata(safetensors.numpy.save(arrays), metadata)
    if len(header) > LONGEST:
        raise CheckpointError(f"{path}: the format can't hold so long a structure; make arrays of long lists")
    write_whole(path, header, values)


def load(path: str | Path) -> Any:
    """Read what `save` wrote, or any safetensors file: its arrays by name.

    A file of `save` comes back as it was saved or not at all: a digest of all it says is in it. The file of another
    program has none, so that damage to its values can't be seen.

    Raises:
        CheckpointError: the file is missing, damaged or cut short, not a safetensors file, or NumPy has not its dtype.
    """
    return read(Path(path))[0]


def load_metadata(path: str | Path) -> dict[str, str]:
    """Read the metadata of a safetensors file; it reads and verifies the arrays too, and raises as `load` does."""
    return read(Path(path))[1]


def read(path: Path) -> tuple[Any, dict[str, str]]:
    """The state and the metadata in a file."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise OSError("it is a folder, a pipe or a device; give a file")  # some would never end
        with safetensors.safe_open(path, framework="np") as file:
            metadata = dict(file.metadata() or {})
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (the file is no dict)
    except (OSError, safetensors.SafetensorError) as error:
        raise unreadable(path, error) from error
    except (TypeError, AttributeError, ValueError) as error:  # NumPy has no such dtype, or no such shape
        raise CheckpointError(f"{path}: NumPy can't hold it: {error}; save its arrays as F32, of few axes") from error
    ours = {name: metadata.pop(name) for name in list(metadata) if name.startswith(OURS)}
    return (verified(path, arrays, metadata, ours) if ours else arrays), metadata


def verified(path: Path, arrays: dict[str, np.ndarray], metadata: dict[str, str], ours: dict[str, str]) -> Any:
    """The state in a file of `save`; CheckpointError where it is not what was saved."""
    if ours.keys() != {VERSION, STRUCTURE, SHA256} or ours[VERSION] != "1":
        raise CheckpointError(f"{path}: expected a file of minigrad's version 1; it is damaged, or of another version")
    if ours.pop(SHA256) != digest(arrays, metadata | ours):
        raise CheckpointError(f"{path}: it is damaged: expected what was saved, but its digest is another; use a copy")
    try:
        return put_together(json.loads(ours[STRUCTURE]), arrays)
    except (ValueError, LookupError, RecursionError) as error:
        raise CheckpointError(f"{path}: its arrays are whole, but what names them is not ({error})") from error


def digest(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> str:
    """SHA-256 of all that a file says: metadata, names, dtypes, shapes and, in the order of the names, values."""
    inputs = {name: a.astype(a.dtype.newbyteorder("<"), copy=False) for name, a in sorted(arrays.items())}
    header = [sorted(metadata.items()), [(name, a.dtype.str, a.shape) for name, a in inputs.items()]]
    sha256 = hashlib.sha256(json.dumps(header).encode())
    for array in inputs.values():
        sha256.update(array.reshape(-1).view(np.uint8).data)
    return sha256.hexdigest()


# ---------------------------------------------------------------------- states as JSON, with arrays by name


def taken_apart(state: Any, name: str, arrays: dict[str, np.ndarray]) -> Any:
    """A state as JSON: containers as {kind: contents}, arrays as {"array": name}, which go into `arrays`."""

    def below(key: Any, value: Any) -> Any:
        return taken_apart(value, f"{name}/{key}" if name else str(key), arrays)

    if hasattr(state, "dtype"):
        if name in arrays:
            raise ValueError(f"save: two arrays would both be called {name!r}; rename one of them")
        arrays[name] = plain(name, state)
        return {"array": name}
    if state is None or type(state) in (bool, int, float, str):
        return state
    if isinstance(state, Mapping):
        if wrong := [key for key in state if type(key) not in (int, str)]:
            raise TypeError(f"save: expected keys of {name or 'the state'} to be strings or integers, got {wrong[0]!r}")
        return {"dict": [[key, below(key, value)] for key, value in state.items()]}
    if isinstance(state, list | tuple):
        kind = "list" if isinstance(state, list) else "tuple"
        return {kind: [below(i, value) for i, value in enumerate(state)]}
    raise TypeError(
        f"save: expected {name or 'the state'} to be an array or a tensor, a number, a string, None, or a dict, "
        f"list or tuple of these, got {type(state).__name__}"
    )


def put_together(structure: Any, arrays: dict[str, np.ndarray]) -> Any:
    """The state that `taken_apart` made JSON of; ValueError or LookupError where it can't have."""
    if not isinstance(structure, dict | list):
        return structure
    if not isinstance(structure, dict) or len(structure) != 1:
        raise ValueError(f"expected {{kind: contents}}, got {structure!r:.40}")
    ((kind, contents),) = structure.items()
    if kind == "array" and isinstance(contents, str):
        return arrays[contents]
    if not isinstance(contents, list):
        raise ValueError(f"expected a list of contents, got {contents!r:.40}")
    if kind == "dict":
        if not all(isinstance(pair, list) and len(pair) == 2 and type(pair[0]) in (int, str) for pair in contents):
            raise ValueError("expected pairs of keys and values")
        return {key: put_together(value, arrays) for key, value in contents}
    return {"list": list, "tuple": tuple}[kind](put_together(value, arrays) for value in contents)


def plain(name: str, value: Any) -> np.ndarray:
    """A value as a contiguous NumPy array of a dtype that the format has, its shape as it was."""
    array = to_numpy(to_array(value))
    if array.dtype.kind not in "biufc" or array.dtype.itemsize > 8:
        raise TypeError(f"save: {name} has dtype {array.dtype}, which the safetensors format has not")
    # safetensors reads an array's memory from end to end, whatever its strides; ascontiguousarray has no 0-d arrays
    return np.ascontiguousarray(array).reshape(array.shape)


# ---------------------------------------------------------------------- files


def with_metadata(contents: bytes, metadata: Mapping[str, str]) -> tuple[bytes, memoryview]:
    """A safetensors file with metadata, as header and values. The library would put them in another order each time."""
    end = 8 + int.from_bytes(contents[:8], "little")
    described = {"__metadata__": metadata} | json.loads(contents[8:end])
    header = json.dumps(described, ensure_ascii=False, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # so that the values are aligned
    return len(header).to_bytes(8, "little") + header, memoryview(contents)[end:]


def write_whole(path: Path, *contents: bytes | memoryview) -> None:
    """Write a file whole or not at all; CheckpointError if it can't be.

    Whoever is killed meanwhile leaves a temporary file, which the next save of the same path removes. As it can't tell
    whether a writer lives, one that lost its file so writes it again.
    """
    path = Path(os.path.realpath(path))  # a link stays one
    try:
        while not moved_in(path, contents):
            pass
    except OSError as error:
        raise CheckpointError(f"{path}: could not be written ({error.strerror}); an older file is untouched") from error
    with contextlib.suppress(OSError):  # not every system can: the file is there, but may not outlive a power failure
        sync(path.parent)
    for abandoned in path.parent.glob(f".{glob.escape(path.name)}.{'[0-9a-f]' * 16}.tmp"):
        with contextlib.suppress(OSError):  # another save was quicker, or it is another user's
            abandoned.unlink()


def moved_in(path: Path, contents: Iterable[bytes | memoryview]) -> bool:
    """Write a file beside `path` and give it that name; False where another writer took it for abandoned."""
    temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.writelines(contents)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileNotFoundError):
            os.replace(temporary, path)
            return True
        return False
    finally:
        with contextlib.suppress(OSError):  # it is not there: renamed, or never made
            temporary.unlink()


def sync(folder: Path) -> None:
    """Make the names in a folder last."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def unreadable(path: Path, error: Exception) -> CheckpointError:
    """What to raise for a file that could not be read."""
    if isinstance(error, FileNotFoundError):
        return CheckpointError(f"{path}: expected a safetensors file, but there is none; check the path")
    if isinstance(error, OSError):
        return CheckpointError(f"{path}: could not be read ({error.strerror or error})")
    return CheckpointError(
        f"{path}: expected a safetensors file, but it is cut short or another kind of file ({error}); "
        "save it again with nn.save, or give the file that was meant; "
        "a PyTorch .pt is converted first, as the documentation's page for PyTorch users shows"
    )
