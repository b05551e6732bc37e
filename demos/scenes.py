"""Scenes to be captioned: one to three things in a picture of 64x64 pixels, drawn without end from a seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
Pairs = Sequence[tuple[str, str]]  # of colour and shape
Choice = TypeVar("Choice")

PIXELS = 64  # the side of a picture
SUPERSAMPLING = 4  # a pixel's coverage is counted on 4x4 points
EDGE, GAP, MARGIN = 1.0, 3.0, 2.0  # pixels kept free: to the border, between things, around an inner thing
WOBBLE = 2.5  # pixels by which a thing leaves the line of its row or column
BORDER = 1.2  # pixels of pure colour around a texture

COLOURS = {
    "red": (214, 40, 40),
    "green": (30, 140, 60),
    "blue": (35, 80, 215),
    "yellow": (240, 190, 0),
    "purple": (150, 50, 170),
    "black": (25, 25, 25),
}
TEXTURES = ("plain", "striped", "dotted")
SIZES = {"small": (11.0, 12.0), "large": (17.0, 18.5)}  # pixels across, from and to
OUTER = 24.0  # pixels across, at least, where something is inside


def _star_shaped(angles: npt.ArrayLike, radii: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """The corners of a shape around (0, 0), from degrees clockwise from the top; 1 across. (corners, 2)."""
    turned = np.deg2rad(angles)
    corners = np.stack([np.sin(turned), -np.cos(turned)], axis=1) * np.reshape(radii, (-1, 1))
    return corners / np.ptp(corners, axis=0).max()


_ARM = 23.0  # degrees from the middle of a cross's arm to its corner
SHAPES = {
    "circle": _star_shaped(np.arange(0, 360, 10), 1),
    "square": _star_shaped([45, 135, 225, 315], 1),
    "triangle": _star_shaped([0, 120, 240], 1),
    "diamond": _star_shaped([0, 90, 180, 270], 1),
    "cross": _star_shaped(
        [turn + corner for turn in (0, 90, 180, 270) for corner in (-_ARM, _ARM, 45)],
        [1, 1, np.sin(np.deg2rad(_ARM)) * np.sqrt(2)] * 4,
    ),
}

ALL_PAIRS = tuple((colour, shape) for colour in COLOURS for shape in SHAPES)
HELD_OUT_PAIRS = (
    ("red", "square"),
    ("green", "circle"),
    ("blue", "triangle"),
    ("yellow", "cross"),
    ("purple", "diamond"),
    ("black", "circle"),
)
TRAIN_PAIRS = tuple(pair for pair in ALL_PAIRS if pair not in HELD_OUT_PAIRS)


# --- things and relations ---


@dataclass(frozen=True)
class Thing:
    """One shape in a picture: what it looks like and where it is."""

    shape: str  #: of SHAPES
    colour: str  #: of COLOURS
    size: str  #: of SIZES
    texture: str  #: of TEXTURES
    extent: float  #: the larger of width and height, in pixels
    x: float = 0.0  #: centre, pixels from the left
    y: float = 0.0  #: centre, pixels from the top

    @property
    def corners(self) -> npt.NDArray[np.float64]:
        """The outline as a polygon of shape (corners, 2), x and y in pixels."""
        return SHAPES[self.shape] * self.extent + (self.x, self.y)

    @property
    def box(self) -> npt.NDArray[np.float64]:
        """The bounding box: ((left, top), (right, bottom)) in pixels."""
        return np.stack([self.corners.min(axis=0), self.corners.max(axis=0)])

    @property
    def reach(self) -> float:
        """The radius in pixels of the circle around the centre that holds the thing."""
        return self.extent * _radii(self.shape)[1]

    @property
    def room(self) -> float:
        """The radius in pixels of the circle around the centre that the thing holds."""
        return self.extent * _radii(self.shape)[0]


@cache
def _radii(shape: str) -> tuple[float, float]:
    corners = SHAPES[shape]
    along_the_edges = np.linspace(corners, np.roll(corners, 1, axis=0), 101)
    distances = np.linalg.norm(along_the_edges, axis=-1)
    return float(distances.min()), float(distances.max())


def _before(a: Thing, b: Thing, axis: int) -> bool:
    """Whether a ends before b begins along an axis, and across it they overlap by a third of the lesser or more."""
    (starts_a, ends_a), (starts_b, ends_b) = a.box, b.box
    overlap = np.minimum(ends_a, ends_b) - np.maximum(starts_a, starts_b)
    lesser = np.minimum(ends_a - starts_a, ends_b - starts_b)
    return bool(ends_a[axis] < starts_b[axis] and overlap[1 - axis] >= lesser[1 - axis] / 3)


RELATIONS: dict[str, Callable[[Thing, Thing], bool]] = {
    "left of": lambda a, b: _before(a, b, axis=0),
    "above": lambda a, b: _before(a, b, axis=1),
    "inside": lambda a, b: bool(np.hypot(a.x - b.x, a.y - b.y) + a.reach < b.room),
}

# A row, a column, or a pair of which one is inside the other and that stands in a row or a column with a third.
LAYOUTS: tuple[tuple[tuple[str, ...], ...], ...] = (
    ((),),
    (("left of",), ("above",), ("inside",)),
    (
        ("left of", "left of"),
        ("above", "above"),
        ("inside", "left of"),
        ("inside", "above"),
        ("left of", "inside"),
        ("above", "inside"),
    ),
)


@dataclass(frozen=True)
class Scene:
    """Things in chain order: each stands to the next in the relation between them.

    The order can be read off the picture: it is that of a row from the left or of a column from the top, with an
    inner thing just before the one around it. No other chain through all things holds, as every scene is one row
    or one column (`LAYOUTS`), and nothing is ever right of, below or around the next.
    """

    things: tuple[Thing, ...]  #: one to three
    relations: tuple[str, ...]  #: one fewer: `things[i] relations[i] things[i + 1]`
    background: tuple[int, int, int]  #: red, green, blue


# --- pictures ---


def draw(scene: Scene) -> Image:
    """The picture of a scene, red, green and blue, of shape (64, 64, 3); the same bits for the same scene."""
    image = np.full((PIXELS, PIXELS, 3), scene.background, dtype=np.float32)
    for thing in reversed(scene.things):  # what is around another comes after it in the chain
        window, covered = _coverage(thing)
        part = image[window]  # a view: painting it paints the image
        _paint(part, COLOURS[thing.colour], covered)
        if thing.texture != "plain":
            _, inner = _coverage(thing, inset=BORDER)
            _paint(part, (255, 255, 255), inner * _pattern(thing.texture)[window])
    return np.rint(image).astype(np.uint8)


def masks(scene: Scene) -> npt.NDArray[np.bool_]:
    """Which pixels show each thing, of shape (things, 64, 64): those that it covers by half, and nothing inside it."""
    shown = np.zeros((len(scene.things), PIXELS, PIXELS), bool)
    for mask, thing in zip(shown, scene.things, strict=True):
        window, covered = _coverage(thing)
        mask[window] = covered >= 0.5
    for i, relation in enumerate(scene.relations):
        if relation == "inside":
            shown[i + 1] &= ~shown[i]
    return shown


def _paint(part: npt.NDArray[np.float32], colour: tuple[int, int, int], coverage: npt.NDArray[np.float32]) -> None:
    part += coverage[:, :, None] * (np.array(colour, dtype=np.float32) - part)


def _coverage(thing: Thing, inset: float = 0.0) -> tuple[tuple[slice, slice], npt.NDArray[np.float32]]:
    """The window of an image that a thing lies in, and how much of each pixel there it covers, from 0 to 1.

    Args:
        inset: pixels by which the thing is smaller all around.
    """
    from PIL import Image, ImageDraw

    (left, top), (right, bottom) = np.floor(thing.box[0]).astype(int), np.ceil(thing.box[1]).astype(int)
    centre = np.array([thing.x, thing.y])
    corners = centre + (1 - inset / thing.room) * (thing.corners - centre) - (left, top)
    canvas = Image.new("L", ((right - left) * SUPERSAMPLING, (bottom - top) * SUPERSAMPLING))
    points = corners * SUPERSAMPLING - 0.5  # Pillow's pixels are points
    ImageDraw.Draw(canvas).polygon(points.ravel().tolist(), fill=255)
    covered = np.asarray(canvas.reduce(SUPERSAMPLING), dtype=np.float32) / 255
    return (slice(top, bottom), slice(left, right)), covered


@cache
def _pattern(texture: str) -> npt.NDArray[np.float32]:
    """How white a texture makes each pixel, 0 to 1, of shape (64, 64)."""
    points = (np.arange(PIXELS * SUPERSAMPLING) + 0.5) / SUPERSAMPLING
    x, y = np.meshgrid(points, points)
    white = {
        "striped": (x + y) % 5.2 < 2.6,
        "dotted": (x % 4 - 2) ** 2 + (y % 4 - 2) ** 2 < 1.35**2,
    }[texture]
    in_pixels = white.reshape(PIXELS, SUPERSAMPLING, PIXELS, SUPERSAMPLING)
    return in_pixels.mean(axis=(1, 3), dtype=np.float32)


# --- sampling ---


def sample(generator: np.random.Generator, pairs: Pairs = TRAIN_PAIRS) -> Scene:
    """A random scene: one, two or three things, as often each, in one of their layouts.

    Nothing overlaps but what is inside another: that is small, wholly within a large thing and of another colour.

    Args:
        generator: where the randomness comes from.
        pairs: the colours and shapes that may meet.

    Raises:
        ValueError: pairs of fewer than two colours.
    """
    if len({colour for colour, _ in pairs}) < 2:
        raise ValueError(f"pairs: expected two colours or more, as what is inside another differs, got {pairs!r}")
    relations = _pick(generator, _pick(generator, LAYOUTS))
    things: list[Thing] = []
    for before, after in zip(("", *relations), (*relations, ""), strict=True):
        around = things[-1] if before == "inside" else None
        things.append(_sample_thing(generator, pairs, around, inner=after == "inside"))
    in_line = [i for i, relation in enumerate((*relations, "")) if relation != "inside"]
    for i, (x, y) in zip(in_line, _line_up(generator, [things[i] for i in in_line], relations), strict=True):
        things[i] = replace(things[i], x=x, y=y)
    for i, relation in enumerate(relations):
        if relation == "inside":
            things[i] = replace(things[i], x=things[i + 1].x, y=things[i + 1].y)
    red, green, blue = (generator.integers(196, 208) + generator.integers(0, 13, size=3)).tolist()
    return Scene(tuple(things), relations, (red, green, blue))


def _sample_thing(generator: np.random.Generator, pairs: Pairs, around: Thing | None, inner: bool) -> Thing:
    """A thing in no place yet: one that is inside the next (`inner`), one that is around another, or neither."""
    if around:
        pairs = [pair for pair in pairs if pair[0] != around.colour]
    colour, shape = _pick(generator, pairs)
    texture = _pick(generator, TEXTURES)
    size = "small" if inner else "large" if around else _pick(generator, tuple(SIZES))
    thing = Thing(shape, colour, size, texture, extent=float(generator.uniform(*SIZES[size])))
    if around:
        needed = (around.reach + MARGIN) / _radii(shape)[0]
        thing = replace(thing, extent=max(OUTER, needed))
    return thing


def _line_up(generator: np.random.Generator, things: list[Thing], relations: Sequence[str]) -> list[list[float]]:
    """The centres of things in a column, where one is above another, or else in a row."""
    axis = 1 if "above" in relations else 0
    starts, ends = np.stack([thing.box for thing in things], axis=1)  # (things, 2), relative to the centres
    lengths = (ends - starts)[:, axis] + GAP
    spare = PIXELS - 2 * EDGE + GAP - lengths.sum()
    spaces = spare * generator.dirichlet(np.ones(len(things) + 1))[:-1]
    centres = np.empty((len(things), 2))
    centres[:, axis] = EDGE + np.cumsum(spaces + lengths) - lengths - starts[:, axis]
    wobble = generator.uniform(-WOBBLE, WOBBLE, size=len(things))
    nearest = EDGE - (starts[:, 1 - axis] + wobble).min()
    farthest = PIXELS - EDGE - (ends[:, 1 - axis] + wobble).max()
    centres[:, 1 - axis] = generator.uniform(nearest, farthest) + wobble
    return centres.tolist()


def _pick(generator: np.random.Generator, choices: Sequence[Choice]) -> Choice:
    return choices[generator.integers(len(choices))]


# --- splits ---


def _sample_held_out(generator: np.random.Generator) -> Scene:
    while True:
        scene = sample(generator, ALL_PAIRS)
        if any((thing.colour, thing.shape) in HELD_OUT_PAIRS for thing in scene.things):
            return scene


SPLITS: dict[str, Callable[[np.random.Generator], Scene]] = {
    "train": sample,
    "test": sample,
    "compositional": _sample_held_out,
}


def scene_at(split: str, index: int, seed: int = 0) -> Scene:
    """Scene number `index` of a split: a function of its arguments, so that a run resumes where it stopped.

    The splits are seeded apart. "train" and "test" have pairs of colour and shape of `TRAIN_PAIRS` alone;
    "compositional" has scenes of all pairs, each with one of `HELD_OUT_PAIRS` or more.

    Args:
        split: one of `SPLITS`.
        index: 0 and up, without end.
        seed: of all splits.

    Raises:
        ValueError: an unknown split.
    """
    if split not in SPLITS:
        raise ValueError(f"split: expected {', '.join(SPLITS)}, got {split!r}")
    return SPLITS[split](np.random.default_rng([seed, list(SPLITS).index(split), index]))
