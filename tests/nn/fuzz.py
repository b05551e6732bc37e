"""Damages checkpoint files, at random and with intent; each must raise CheckpointError, or load what it says.

python -m tests.nn.fuzz --files 100000

A file that was damaged at random must be refused, or load exactly what was saved (white space in a header may change).
One that was edited with intent, its digest made to fit, must be refused, or load arrays that agree with its header. Any
other exception, a panic of the library included, and a load without end are failures; so is a file that takes more
memory than its size accounts for. File number i of a seed is always the same.
"""

import argparse
import contextlib
import faulthandler
import json
import math
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import minigrad as mg
import nn
from nn import checkpoint
from tests.children import CHILDREN

SECONDS = 60  # in which a load must end, on any machine


class Saved(NamedTuple):
    """A file, and what was saved in it."""

    contents: bytes
    exactly: Any


def flat_state(seed: int) -> dict[str, np.ndarray]:
    """Weights of several dtypes, one of them 0-d and one empty."""
    rng = np.random.default_rng(seed)
    weights = {f"layer.{dtype}": rng.normal(size=(3, 5)).astype(dtype) for dtype in ("f2", "f4", "f8", "c8", "u1")}
    return {**weights, "é": rng.random(7) > 0.5, "step": np.array(seed), "none": np.zeros((0, 2), "i4")}


def training_state(seed: int) -> dict[str, Any]:
    """All that a training run goes on from, in the shape the demos save it."""
    mg.seed(seed)
    model = nn.LSTM(2, 3)
    optimizer = nn.optim.AdamW(model.parameters())
    output, state = model(mg.default_generator().normal(size=(4, 2, 2)).astype("f4"))
    output.sum().backward()
    optimizer.step()
    return {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "recurrent": state,
        "generator": mg.default_generator().bit_generator.state,
        "progress": (seed, 8.5, [math.inf, 0.1], "naïve", None, True),
    }


def exact(state: Any) -> Any:
    """A state as what is equal where it is the same to the bit and the type."""
    arrays: dict[str, np.ndarray] = {}
    structure = json.dumps(checkpoint.taken_apart(state, "", arrays))
    return structure, {name: (a.dtype.str, a.shape, a.tobytes()) for name, a in arrays.items()}


def saved_files(path: Path) -> list[tuple[Saved, Saved]]:
    """Of each kind of state two files, as from two steps of one run."""

    def saved(state: Any) -> Saved:
        nn.save(path, state, {"text": "of a file"})
        return Saved(path.read_bytes(), exact([nn.load(path), nn.load_metadata(path)]))

    return [(saved(make(1)), saved(make(2))) for make in (flat_state, training_state)]


# ---------------------------------------------------------------------- damage at random


def part(rng: random.Random, contents: bytes) -> tuple[int, int]:
    """Where a part of a file begins and ends: a few bytes as often as many."""
    begin = rng.randrange(len(contents))
    return begin, min(len(contents), begin + int(2 ** rng.uniform(0, 10)))


def flipped(rng: random.Random, a: bytes, b: bytes) -> bytes:
    damaged = bytearray(a)
    for _ in range(rng.choice([1, 1, 1, 2, 8])):
        damaged[rng.randrange(len(a))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def overwritten(rng: random.Random, a: bytes, b: bytes) -> bytes:
    begin, end = part(rng, a)
    return a[:begin] + rng.randbytes(end - begin) + a[end:]


def zeroed(rng: random.Random, a: bytes, b: bytes) -> bytes:
    page = rng.choice([16, 64, 512, 4096])
    begin = rng.randrange(len(a)) // page * page
    return a[:begin] + bytes(len(a[begin : begin + page])) + a[begin + page :]


def deleted(rng: random.Random, a: bytes, b: bytes) -> bytes:
    begin, end = part(rng, a)
    return a[:begin] + a[end:]


def inserted(rng: random.Random, a: bytes, b: bytes) -> bytes:
    begin, end = part(rng, a)
    return a[:begin] + rng.randbytes(end - begin) + a[begin:]


def duplicated(rng: random.Random, a: bytes, b: bytes) -> bytes:
    begin, end = part(rng, a)
    return a[:end] + a[begin:]


def moved(rng: random.Random, a: bytes, b: bytes) -> bytes:
    begin, end = part(rng, a)
    to = rng.randrange(len(a) - (end - begin) + 1)
    return a[:to] + a[begin:end] + a[to + end - begin :]


def truncated(rng: random.Random, a: bytes, b: bytes) -> bytes:
    return a[: rng.randrange(len(a))]


def spliced(rng: random.Random, a: bytes, b: bytes) -> bytes:
    cuts = sorted(rng.randrange(len(a)) for _ in range(2))
    return a[: cuts[0]] + b[cuts[0] : cuts[1]] + a[cuts[1] :]


def another_length(rng: random.Random, a: bytes, b: bytes) -> bytes:
    length = int.from_bytes(a[:8], "little")
    other = rng.choice([length + rng.randint(-16, 16), rng.randrange(2 * len(a)), rng.getrandbits(rng.randint(1, 64))])
    return max(0, other).to_bytes(8, "little") + a[8:]


AT_RANDOM = (flipped, overwritten, zeroed, deleted, inserted, duplicated, moved, truncated, spliced, another_length)


# ---------------------------------------------------------------------- edits with intent

ODD = [
    0, 1, 2, 7, -1, 2**31, 2**32, 2**53, 2**62, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), 10**30, 10**4000,
    0.5, -0.0, 1e308, math.nan, math.inf, True, None, "", "F32", "\0", "a" * 70_000, "é\U0001f600", [], {}, [[]],
    {"dtype": "F32", "shape": [0, 2**62], "data_offsets": [0, 0]},
    {"array": "é"}, {"array": 0}, {"list": [{"tuple": []}]}, {"dict": [[1, 2], [1, 3]]}, [0, 0], [1] * 65, [0, 2**62],
]  # fmt: skip
NUMPY = {
    "BOOL": "|b1", "U8": "|u1", "I8": "|i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4", "U64": "<u8",
    "I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8", "C64": "<c8",
}  # fmt: skip
DTYPES = [*NUMPY, "BF16", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F4", "F6_E2M3", "F6_E3M2", "f32", "O", ""]


def places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Each container in a tree of JSON, with each of its keys."""
    if isinstance(tree, dict | list):
        for key in list(tree) if isinstance(tree, dict) else range(len(tree)):
            yield tree, key
            yield from places(tree[key])


def with_odd_values(rng: random.Random, tree: Any) -> None:
    """Somewhere in a tree of JSON, another value: an odd one, one from elsewhere, or none at all."""
    for _ in range(rng.choice([1, 1, 2, 4])):
        there = list(places(tree))
        if not there:
            return
        (container, key), (donor, of) = rng.choice(there), rng.choice(there)
        if rng.random() < 0.2:
            del container[key]
        else:
            value = rng.choice(ODD) if rng.random() < 0.6 else donor[of]
            container[key] = json.loads(json.dumps(value))  # a copy: no tree in itself


def odd_header(rng: random.Random, header: dict[str, Any], data: bytes) -> bytes:
    with_odd_values(rng, header)
    return in_file(rng, header, data)


def odd_array(rng: random.Random, header: dict[str, Any], data: bytes) -> bytes:
    """Dtype, shape or offsets of arrays that are others', or that might fit."""
    names = [name for name in header if name != "__metadata__"]
    one, other = header[rng.choice(names)], header[rng.choice(names)]
    field = rng.choice(["dtype", "shape", "data_offsets"])
    one[field], other[field] = other[field], one[field]
    if rng.random() < 0.5:
        one["dtype"] = rng.choice(DTYPES)
    if rng.random() < 0.5:
        one["shape"] = [*one["shape"], *rng.choice([[1], [1] * 70, [0], [0, 2**62], [2**63, 2], [2**64 - 1], [-1, -1]])]
        rng.shuffle(one["shape"])
    return in_file(rng, header, data)


def odd_structure(rng: random.Random, header: dict[str, Any], data: bytes) -> bytes:
    structure = [json.loads(header["__metadata__"][checkpoint.STRUCTURE])]
    with_odd_values(rng, structure)
    text = json.dumps(structure[0] if structure else 0)
    if rng.random() < 0.3:
        at, what = rng.randrange(len(text)), rng.choice(["[", '{"list":[', '{"a":', "9", "\\ud800", ",", "NaN", "1e9"])
        text = text[:at] + what * int(2 ** rng.uniform(0, 16)) + text[at:]
    header["__metadata__"][checkpoint.STRUCTURE] = text
    return in_file(rng, header, data)


def odd_metadata(rng: random.Random, header: dict[str, Any], data: bytes) -> bytes:
    metadata = header["__metadata__"]
    name = rng.choice(list(metadata))
    if rng.random() < 0.5:
        metadata[rng.choice(["minigrad.", "minigrad.sha256 ", "Minigrad.x", "x", "__metadata__"])] = metadata.pop(name)
    else:
        metadata[name] = rng.choice(["", "1", "0" * 64, 1, None, [], "\0", "x" * 70_000])
    return in_file(rng, header, data)


def odd_text(rng: random.Random, header: dict[str, Any], data: bytes) -> bytes:
    """What only the text of a header can have: names twice, bytes that are no UTF-8, nesting without end."""
    text = json.dumps(signed(header, data)).encode()
    name, of = rng.choice(list(header.items()))
    twice = json.dumps({name: rng.choice([of, *header.values()])}).encode()
    at = rng.randrange(1, len(text))
    odd = rng.choice([b"\xff", b"\xc3", b"\xed\xa0\x80", b"\\ud800", b"\\u0000", b"\0", b"[" * 5000, b'{"a":' * 5000])
    edits = [text[:-1] + b"," + twice[1:], twice[:-1] + b"," + text[1:], text[:at] + odd + text[at:]]
    text = rng.choice(edits) + b" " * rng.choice([0, 1, 7, 1000])
    return len(text).to_bytes(8, "little") + text + data


WITH_INTENT = (odd_header, odd_array, odd_structure, odd_metadata, odd_text)


def in_file(rng: random.Random, header: dict[str, Any], data: bytes) -> bytes:
    """A file of such a header; most often with the digest that fits it."""
    text = json.dumps(signed(header, data) if rng.random() < 0.8 else header).encode()
    return len(text).to_bytes(8, "little") + text + data


def signed(header: dict[str, Any], data: bytes) -> dict[str, Any]:
    """A header with the digest that fits it, if one does."""
    with contextlib.suppress(Exception):  # what has no digest stays as it is
        header, metadata = dict(header), dict(header["__metadata__"])
        fields = {name: entry for name, entry in header.items() if name != "__metadata__"}
        arrays = {name: array_of(entry, data) for name, entry in fields.items()}
        metadata.pop(checkpoint.SHA256, None)
        metadata[checkpoint.SHA256] = checkpoint.digest(arrays, metadata)
        header["__metadata__"] = metadata
    return header


def array_of(entry: dict[str, Any], data: bytes) -> np.ndarray:
    """What an entry of a header says, read by NumPy alone."""
    begin, end = entry["data_offsets"]
    return np.frombuffer(data[begin:end], NUMPY[entry["dtype"]]).reshape(entry["shape"])


def header_of(contents: bytes, hook: Callable[..., Any] = dict) -> tuple[Any, bytes]:
    """Header and data of a file."""
    end = 8 + int.from_bytes(contents[:8], "little")
    return json.loads(contents[8:end], object_pairs_hook=hook), contents[end:]


def agrees(state: Any, contents: bytes) -> bool:
    """Whether each array of a state is one that the file's header has."""
    header, data = header_of(contents, hook=list)  # of two entries by one name either may be meant
    described = set()
    for _, entry in header:
        with contextlib.suppress(Exception):  # no array
            array = array_of(dict(entry), data)
            described.add((array.dtype.str, array.shape, array.tobytes()))
    _, loaded = exact(state)
    return set(loaded.values()) <= described


# ---------------------------------------------------------------------- the trial


def outcome(path: Path, contents: bytes, right: Callable[[Any, dict[str, str]], bool]) -> str:
    """What comes of a file: refused, right, wrong, or the name of an exception that it must not raise."""
    path.write_bytes(contents)
    try:
        state, metadata = nn.load(path), nn.load_metadata(path)
    except nn.CheckpointError:
        return "refused"
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a panic in Rust is no Exception
        return type(error).__name__
    return "right" if right(state, metadata) else "wrong"


def trial(number: int, seed: int, files: list[tuple[Saved, Saved]], path: Path) -> tuple[str, str]:
    """What was done to a file, and what came of it."""
    rng = random.Random(f"{seed}/{number}")
    a, b = rng.choice(files)
    if rng.random() < 0.5:
        damage = rng.choice(AT_RANDOM)
        contents = damage(rng, a.contents, b.contents)
        expected = {a.contents: a, b.contents: b}.get(contents, a).exactly
        return damage.__name__, outcome(path, contents, lambda *loaded: exact(list(loaded)) == expected)
    edit = rng.choice(WITH_INTENT)
    contents = edit(rng, *header_of(a.contents))
    return edit.__name__, outcome(path, contents, lambda state, _: agrees(state, contents))


def fuzz(numbers: range, seed: int, path: Path) -> Counter[tuple[str, str]]:
    """The outcomes of many files, counted; what failed is printed."""
    files, counts = saved_files(path), Counter()
    for number in numbers:
        if number % 100 == 0:
            faulthandler.dump_traceback_later(SECONDS, exit=True)
        what, came = trial(number, seed, files, path)
        counts[what, came] += 1
        if came not in ("refused", "right"):
            print(f"file {number} of seed {seed}, {what}: {came}", file=sys.stderr)
    faulthandler.cancel_dump_traceback_later()
    return counts


# ---------------------------------------------------------------------- memory


def long_files(size: int) -> dict[str, tuple[bytes, float]]:
    """Files of about so many bytes that are as costly as they can be, with how many times their size a load may take.

    A file of values is read as it lies on the disk, once. What is long in names or structure becomes Python objects,
    of up to 64 bytes where the file has two or three.
    """

    def in_header(header: dict[str, Any], data: bytes = b"") -> bytes:
        text = json.dumps(header, separators=(",", ":")).encode()
        return len(text).to_bytes(8, "little") + text + data

    def of(structure: str, **metadata: str) -> bytes:
        ours = {checkpoint.VERSION: "1", checkpoint.STRUCTURE: structure}
        return in_header(signed({"__metadata__": metadata | ours}, b""))

    def listed(item: str) -> bytes:
        return of('{"list":[' + ",".join([item] * (size // (len(item) + 1))) + "]}")

    def array(shape: list[int], begin: int, end: int) -> dict[str, Any]:
        return {"dtype": "U8", "shape": shape, "data_offsets": [begin, end]}

    return {
        "values": (in_header({"a": array([size], 0, size)}, bytes(size)), 3),
        "white space": (size.to_bytes(8, "little") + b"{" + b" " * (size - 2) + b"}", 3),
        "empty lists": (listed('{"list":[]}'), 40),
        "no state": (listed("[]"), 40),
        "numbers": (listed("1"), 40),
        "one number": (of("9" * size), 40),
        "one text": (of(json.dumps("a" * size + "\U0001f600", ensure_ascii=False)), 40),
        "nesting": (of("[" * size), 40),
        "metadata": (of("null", **{str(i): "" for i in range(size // 12)}), 40),
        "arrays": (in_header({str(i): array([0], 0, 0) for i in range(size // 60)}), 40),
        "axes": (in_header({"a": array([1] * (size // 2), 0, 1)}, b"0"), 40),
    }


def peak() -> int:
    """The most memory this process has had, in bytes."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return 1024 * int(line.split()[1])


def taken(path: Path) -> int:
    """How much more memory this process has had by loading a file."""
    before = peak()
    with contextlib.suppress(nn.CheckpointError):
        nn.load(path)
    return peak() - before


def memory(size: int, path: Path) -> dict[str, tuple[float, float]]:
    """For each long file: how many times its size a load took, and how many it may."""
    times = {}
    for name, (contents, most) in long_files(size).items():
        path.write_bytes(contents)
        with ProcessPoolExecutor(1, CHILDREN) as fresh:
            times[name] = fresh.submit(taken, path).result(SECONDS) / len(contents), most
    return times


def main() -> None:
    """Run the command line; exits with 1 where a file was not refused, nor right, or took too much memory."""
    command = argparse.ArgumentParser(prog="python -m tests.nn.fuzz", description=__doc__.split("\n")[0])
    command.add_argument("--files", type=int, default=100_000, help="(%(default)s)")
    command.add_argument("--seed", type=int, default=0, help="(%(default)s)")
    args = command.parse_args()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a")
        counts = fuzz(range(args.files), args.seed, path)
        times = memory(10_000_000, path)
    came = list(dict.fromkeys(["refused", "right", *(came for _, came in counts)]))
    print(f"{'':16}" + "".join(f"{name:>10}" for name in came))
    for damage in (*AT_RANDOM, *WITH_INTENT):
        print(f"{damage.__name__:16}" + "".join(f"{counts[damage.__name__, name]:10}" for name in came))
    print("memory, in sizes of the file: " + ", ".join(f"{name} {took:.1f}" for name, (took, _) in times.items()))
    failed = sum(counts.values()) - sum(counts[key] for key in counts if key[1] in ("refused", "right"))
    hungry = [name for name, (took, most) in times.items() if took > most]
    print(f"fuzz: {sum(counts.values())} files, {failed} failed; {time.perf_counter() - start:.0f} seconds")
    sys.exit(1 if failed or hungry else 0)


if __name__ == "__main__":
    main()
