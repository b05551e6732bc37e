"""Saving and loading arrays by name, in the safetensors format: no code in the file, no half-written files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from minigrad.backend import to_numpy
from minigrad.creation import to_array


class CheckpointError(Exception):
    """A file that can't be saved, or that is not the checkpoint it should be."""


def save(path: str | Path, state: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> None:
    """Write arrays by name to a safetensors file, exactly; what was there before stays until all is written.

    Args:
        path: the file; by custom its name ends in .safetensors.
        state: arrays or tensors by name, as `Module.state_dict` gives them; of any shape and order in memory.
        metadata: short texts by name, which `load_metadata` gives back.

    Raises:
        TypeError: names or metadata that are not strings, values that are not arrays, or a dtype that the format
            has not.
        ValueError: the name "__metadata__".
        CheckpointError: the file can't be written; an older one is untouched.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "model.safetensors")
    >>> save(path, {"weight": np.eye(2)}, {"step": "7"})
    >>> load(path)["weight"]
    array([[1., 0.],
           [0., 1.]])
    """
    path = Path(path)
    for name in [*state, *(metadata or {}), *(metadata or {}).values()]:
        if not isinstance(name, str):
            raise TypeError(f"save: expected names and metadata to be strings, got {name!r}")
    if "__metadata__" in state:
        raise ValueError("save: the name '__metadata__' belongs to the format; call the array something else")
    arrays = {name: plain(name, value) for name, value in state.items()}
    contents = safetensors.numpy.save(arrays, dict(metadata) if metadata else None)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")  # same folder, so that it can be renamed
    try:
        with open(temporary, "wb") as file:
            file.write(contents)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise CheckpointError(f"{path}: could not be written ({error.strerror}); an older file is untouched") from error
    finally:
        temporary.unlink(missing_ok=True)


def load(path: str | Path) -> dict[str, np.ndarray]:
    """Read the arrays of a safetensors file by name.

    Raises:
        CheckpointError: the file is missing, cut short, not a safetensors file, or has a dtype NumPy has not.
    """
    path = Path(path)
    try:
        return safetensors.numpy.load(path.read_bytes())
    except KeyError as error:
        raise CheckpointError(
            f"{path}: has an array of dtype {error.args[0]}, which NumPy has not; save it as F32"
        ) from error
    except (OSError, safetensors.SafetensorError) as error:
        raise unreadable(path, error) from error


def load_metadata(path: str | Path) -> dict[str, str]:
    """Read the metadata of a safetensors file; raises as `load` does."""
    try:
        with safetensors.safe_open(path, framework="np") as file:
            return dict(file.metadata() or {})
    except (OSError, safetensors.SafetensorError) as error:
        raise unreadable(Path(path), error) from error


def plain(name: str, value: Any) -> np.ndarray:
    """A value as a contiguous NumPy array of a dtype that the format has, its shape as it was."""
    if not hasattr(value, "dtype"):
        raise TypeError(f"save: expected {name} to be an array or a tensor, got {type(value).__name__}")
    array = to_numpy(to_array(value))
    if array.dtype.kind not in "biufc" or array.dtype.itemsize > 8:
        raise TypeError(f"save: {name} has dtype {array.dtype}, which the safetensors format has not")
    # safetensors reads an array's memory from end to end, whatever its strides; ascontiguousarray has no 0-d arrays
    return np.ascontiguousarray(array).reshape(array.shape)


def unreadable(path: Path, error: Exception) -> CheckpointError:
    """What to raise for a file that could not be read."""
    if not path.exists():
        return CheckpointError(f"{path}: expected a safetensors file, but there is none; check the path")
    if isinstance(error, OSError):
        return CheckpointError(f"{path}: could not be read ({error.strerror or error})")
    return CheckpointError(
        f"{path}: expected a safetensors file, but it is cut short or another kind of file ({error}); "
        "save it again with nn.save, or give the file that was meant"
    )
