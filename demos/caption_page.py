"""The page of a captioner's run: images, what models say of them, and where they looked for each word.

One HTML file that holds its pictures and needs no scripts.
"""

import base64
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import starmap
from pathlib import Path
from string import Template
from typing import Any

import matplotlib
import numpy as np
from PIL import Image

from nn.checkpoint import write_whole

PHOTO = 384  # pixels: the longest side of an image as it is stored
SMOOTH = 96  # of a map over it
FEWEST, MOST = 8, 12  # words beside one another
ATTENTION, GRADIENT = (
    "viridis",
    "magma",
)  # even steps of weight are even steps of colour, in print and to the colour-blind
HIGHEST = 99.5  # percent of a gradient's pixels within its scale: a few are far beyond all others


@dataclass(frozen=True, eq=False)
class Told:
    """What one model says of an image, and where it looked for each of the T words.

    Args:
        model: its name, such as "soft attention".
        words: the T words, <END> among them or not; there may be none.
        maps: attention over the grid for each word, (T, h, w); None: the model has none.
        cells: the cells that hard attention drew, (T,), numbered along the rows of the grid; None: it draws none.
        gradients: |d score of the word / d pixel|, (T, H, W), the channels of a pixel taken together; None: not shown.
        note: a judgement, such as "true and complete".
        right: whether it is a good one; None: neither.
    """

    model: str
    words: Sequence[str]
    maps: np.ndarray | None = None
    cells: np.ndarray | None = None
    gradients: np.ndarray | None = None
    note: str = ""
    right: bool | None = None

    def __post_init__(self) -> None:
        for name, axes in (("maps", 3), ("cells", 1), ("gradients", 3)):
            value = getattr(self, name)
            if value is None:
                continue
            if value.ndim != axes or len(value) != len(self.words):
                raise ValueError(
                    f"{name} of {self.model}: expected {axes} axes, the first of them the {len(self.words)} words, "
                    f"got shape {value.shape}"
                )
            if not np.isfinite(value).all():
                raise ValueError(f"{name} of {self.model}: expected finite numbers, got NaN or infinite ones")
        if self.cells is not None and self.maps is None:
            raise ValueError(f"cells of {self.model}: expected maps with them, whose grid they are of, got None")


@dataclass(frozen=True, eq=False)
class Example:
    """An image, what people say of it, and what models do.

    Args:
        image: (H, W, 3), uint8.
        references: sentences; there may be none.
        told: of one model or more, side by side.
    """

    image: np.ndarray
    references: Sequence[str]
    told: Sequence[Told]

    def __post_init__(self) -> None:
        if self.image.ndim != 3 or self.image.shape[2] != 3 or self.image.dtype != np.uint8 or not self.image.size:
            raise ValueError(
                f"image: expected (H, W, 3) of uint8, got {self.image.shape} of {self.image.dtype}; "
                "np.asarray(picture.convert('RGB')) gives it"
            )


def write_page(
    path: str | Path,
    title: str,
    facts: Mapping[str, Any],
    examples: Sequence[Example],
    measures: Sequence[Mapping[str, Any]] = (),
    plots: Mapping[str, bytes] | None = None,
    drawings: Mapping[str, str] | None = None,
) -> None:
    """Write a run's page.

    Args:
        path: of the HTML file.
        title: what was trained on what.
        facts: names and values to stand below it.
        examples: in the order of the page.
        measures: a row of the table for each variant: columns' names and values; a column that a row lacks stays empty.
        plots: PNG files by what is to stand below them.
        drawings: SVG texts by what is to stand below them.
    """
    figures = [(text, _data("image/png", png)) for text, png in (plots or {}).items()]
    drawn = [(text, _data("image/svg+xml", svg.encode())) for text, svg in (drawings or {}).items()]
    page = PAGE.substitute(
        title=escape(title),
        facts="".join(starmap(_fact, facts.items())),
        measures=_table(measures),
        examples="".join(_example(number, example) for number, example in enumerate(examples, start=1)),
        figures="".join(_figure(*plot, "") for plot in figures) + "".join(_figure(*one, "wide") for one in drawn),
    )
    write_whole(Path(path), page.encode("utf-8", "replace"))


# ---------------------------------------------------------------------- parts of the page


def _fact(name: str, value: Any) -> str:
    return f"<div><dt>{escape(name)}</dt><dd>{escape(str(value))}</dd></div>"


def _figure(text: str, uri: str, kind: str) -> str:
    return f'<figure class="{kind}"><img src="{uri}" alt=""><figcaption>{escape(text)}</figcaption></figure>'


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join(f"<tr>{''.join(f'<td>{_cell(row.get(name))}</td>' for name in columns)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>" if rows else ""


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.2f}" if isinstance(value, float) else escape(str(value))


def _example(number: int, example: Example) -> str:
    H, W = example.image.shape[:2]
    sentences = "".join(map(_sentence, example.told))
    references = "".join(f"<li>{escape(reference)}</li>" for reference in example.references)
    longest = max([FEWEST, *(len(told.words) for told in example.told)])
    columns = math.ceil(longest / math.ceil(longest / MOST))  # lines of one length, not a full one and a rest
    photo = f"--photo: url({_png(_photo(example.image))}); --shape: {W} / {H}; --columns: {columns}"
    return f"""
<section style="{photo}">
<header>
<div class="whole">
<div class="photo {"crisp" if max(H, W) < PHOTO else ""}" role="img" aria-label="image {number}"></div></div>
<div>{sentences}{f"<h4>References</h4><ul>{references}</ul>" if references else ""}</div>
</header>
{"".join(_strips(told, columns, (H, W)) for told in example.told)}
</section>"""


def _sentence(told: Told) -> str:
    words = escape(" ".join(told.words)) or "<em>no words</em>"
    kind = {True: "right", False: "wrong", None: ""}[told.right]
    note = f' <span class="note {kind}">{escape(told.note)}</span>' if told.note else ""
    return f'<h4>{escape(told.model)}</h4><p class="sentence">{words}{note}</p>'


def _strips(told: Told, columns: int, size: tuple[int, int]) -> str:
    """For each line of words, rows of tiles below them."""
    rows = list(_rows(told, size))
    if not rows or not told.words:
        return ""
    lines = []
    for start in range(0, len(told.words), columns):
        line = slice(start, start + columns)
        words = "".join(f'<div class="word">{escape(word)}</div>' for word in told.words[line])
        lines.append(f'<div class="row"><div></div>{words}</div>')
        lines += [
            f'<div class="row"><div class="label">{label}</div>{"".join(tiles[line])}</div>' for label, tiles in rows
        ]
    return f'<h3>{escape(told.model)}</h3><div class="strips">{"".join(lines)}</div>'


def _rows(told: Told, size: tuple[int, int]) -> Iterator[tuple[str, list[str]]]:
    """The label and tiles, one a word, of each row."""
    if told.maps is not None and told.maps.size:
        top = told.maps.max()
        smooth = [_smooth(one, size) for one in told.maps]
        boxes = (
            [""] * len(told.words) if told.cells is None else [_box(cell, told.maps.shape[1:]) for cell in told.cells]
        )
        over = [_over(_coloured(one, top, ATTENTION), box) for one, box in zip(smooth, boxes, strict=True)]
        yield f"<b>where it looked</b>one scale for all words {_bar(top, ATTENTION)}", over
        peaks = [f"{one.max():.2f}" for one in told.maps]
        own = [_over(_coloured(one, one.max(), ATTENTION), box) for one, box in zip(smooth, boxes, strict=True)]
        yield (
            "<b>each on its own scale</b>from 0 to the number below it",
            [f"<div>{tile}<small>{peak}</small></div>" for tile, peak in zip(own, peaks, strict=True)],
        )
        h, w = told.maps.shape[1:]
        grids = [_over(_coloured(one, top, ATTENTION), box, "grid") for one, box in zip(told.maps, boxes, strict=True)]
        yield f"<b>the weights</b>{h} × {w} cells, the scale of the first row", grids
    if told.gradients is not None and told.gradients.size:
        top = np.percentile(told.gradients, HIGHEST)
        tiles = [_over(_coloured(one, top, GRADIENT), "", "grid") for one in told.gradients]
        yield f"<b>pixels that mattered</b>|d score / d pixel| {_bar(top, GRADIENT)}", tiles


def _over(map_: np.ndarray, box: str, kind: str = "") -> str:
    return f'<div class="photo {kind}"><img src="{_png(map_)}" alt="">{box}</div>'


def _box(cell: int, grid: tuple[int, ...]) -> str:
    """A frame around a cell."""
    h, w = grid
    i, j = divmod(int(cell), w)
    place = f"left: {100 * j / w:.2f}%; top: {100 * i / h:.2f}%; width: {100 / w:.2f}%; height: {100 / h:.2f}%"
    return f'<div class="box" style="{place}"></div>'


def _bar(top: float, colours: str) -> str:
    steps = ", ".join(matplotlib.colors.to_hex(c) for c in matplotlib.colormaps[colours](np.linspace(0, 1, 9)))
    bar = f'<span class="bar" style="background: linear-gradient(to right, {steps})"></span>'
    return f'{bar}<span class="ends"><i>0</i><i>{top:.2g}</i></span>'


# ---------------------------------------------------------------------- pictures


def _photo(image: np.ndarray) -> np.ndarray:
    """An image as it is stored: itself, or shrunk."""
    picture = Image.fromarray(image)
    picture.thumbnail((PHOTO, PHOTO), Image.Resampling.LANCZOS)
    return np.asarray(picture)


def _smooth(map_: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A map of a grid as large as it is shown, through the weights at the cells' centres."""
    H, W = (max(1, round(SMOOTH * n / max(size))) for n in size)
    large = Image.fromarray(map_.astype(np.float32)).resize((W, H), Image.Resampling.BICUBIC)
    return np.clip(np.asarray(large), 0, map_.max())


def _coloured(map_: np.ndarray, top: float, colours: str) -> np.ndarray:
    scaled = map_ / top if top > 0 else np.zeros(map_.shape)
    return matplotlib.colormaps[colours](np.clip(scaled, 0, 1), bytes=True)[..., :3]


def _png(pixels: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png", optimize=True)
    return _data("image/png", file.getvalue())


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 28px 32px; max-width: 1280px; background: #f4f5f7; color: #1d2330;
  font: 15px/1.45 system-ui, "Segoe UI", Roboto, "Helvetica Neue", "DejaVu Sans", sans-serif; overflow-wrap: anywhere; }
h1 { margin: 0 0 12px; font-size: 30px; line-height: 1.2; }
h3 { margin: 22px 0 6px; font-size: 16px; }
h4 { margin: 0; font-size: 13px; font-weight: 600; color: #667085; }
dl { display: flex; flex-wrap: wrap; gap: 6px 28px; margin: 0 0 20px; }
dt { font-size: 12px; color: #667085; }
dd { margin: 0; font-weight: 600; }
table, section, figure { background: #fff; border: 1px solid #e1e4ea; border-radius: 10px; }
table { border-collapse: separate; border-spacing: 0; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 7px 6px; text-align: right; font-size: 13px; white-space: nowrap; }
th { font-size: 11px; color: #667085; vertical-align: bottom; }
td { border-top: 1px solid #e1e4ea; }
th:first-child, td:first-child { text-align: left; font-weight: 600; }
section, figure { margin: 22px 0 0; padding: 20px; }
header { display: grid; grid-template-columns: 224px 1fr; gap: 28px; }
.sentence { margin: 0 0 14px; font-size: 24px; line-height: 1.3; font-weight: 600; }
.sentence em { font-weight: 400; color: #98a0ae; }
.note { display: inline-block; padding: 2px 10px; border-radius: 12px; background: #eceef2; color: #475066;
  font-size: 13px; vertical-align: 3px; }
.note.right { background: #dcf3e4; color: #146c39; }
.note.wrong { background: #fde6e2; color: #a3281a; }
ul { margin: 0; padding-left: 18px; color: #475066; }
.photo { position: relative; width: 100%; aspect-ratio: var(--shape); border-radius: 4px; overflow: hidden;
  background: var(--photo) center / 100% 100%; }
.crisp, .strips .photo, .grid img { image-rendering: pixelated; }
.photo img { position: absolute; inset: 0; width: 100%; height: 100%; opacity: 0.62; image-rendering: auto; }
.photo.grid img { opacity: 1; image-rendering: pixelated; }
.box { position: absolute; border: 2px solid #fff; outline: 1px solid #000; }
.row { display: grid; grid-template-columns: 132px repeat(var(--columns), minmax(0, 1fr)); gap: 6px;
  margin-bottom: 6px; }
.word { align-self: end; padding-top: 8px; text-align: center; font-size: 16px; font-weight: 600; line-height: 1.15; }
.label { padding-right: 8px; font-size: 12px; line-height: 1.3; color: #667085; }
.label b { display: block; color: #1d2330; font-size: 13px; }
small { display: block; text-align: center; font-size: 11px; color: #667085; font-variant-numeric: tabular-nums; }
.bar { display: block; height: 9px; margin-top: 5px; border-radius: 2px; }
.ends { display: flex; justify-content: space-between; }
i { font-style: normal; }
figure.wide { overflow-x: auto; }
figure.wide img { max-width: none; }
figure img { display: block; max-width: 100%; margin: 0 auto; }
figcaption { margin-top: 10px; color: #475066; }
</style>
<h1>$title</h1>
<dl>$facts</dl>
$measures
$examples
$figures
</html>
""")
