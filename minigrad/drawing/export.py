"""How a drawing leaves: as text, as a file, in a notebook."""

import warnings
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

from .dot import to_dot
from .picture import Picture

TEXT = (".gv", ".dot")
RENDERED = (".svg", ".png", ".pdf")
LARGEST_SHOWN = 1000  # boxes; a notebook would wait minutes for more
NO_DOT = (
    "Graphviz's program `dot` is not on the PATH; install it with `apt install graphviz` (Debian, Ubuntu), "
    "`brew install graphviz` (macOS) or `winget install graphviz` (Windows)"
)


class DotMissing(RuntimeError):
    """Graphviz's program `dot`, which lays drawings out, is not there."""


def render(dot: str, form: str) -> bytes:
    """A picture of DOT text: "svg", "png" or "pdf"; DotMissing without `dot`, RuntimeError where it gives up."""
    import graphviz

    try:
        return bytes(graphviz.Source(dot).pipe(format=form, quiet=True))
    except graphviz.ExecutableNotFound:
        raise DotMissing(NO_DOT) from None
    except graphviz.CalledProcessError as error:
        raise RuntimeError(f"{form}: dot gave up on {len(dot):,} characters of DOT text ({error})") from error


class Drawing:
    """A drawn graph, made by `minigrad.draw`: `save` it, read it as text, or let a notebook show it."""

    def __init__(self, picture: Picture) -> None:
        self.picture = picture

    def __repr__(self) -> str:
        return f"Drawing({len(self.picture.boxes)} nodes, {len(self.picture.arrows)} edges)"

    @cached_property
    def dot(self) -> str:
        """The drawing as DOT text. The same program gives the same text, with or without `dot`."""
        return to_dot(self.picture)

    @cached_property
    def svg(self) -> str:
        """The drawing as SVG text.

        Raises:
            DotMissing: Graphviz's `dot` is not installed.
            RuntimeError: `dot` gave up on this drawing.
        """
        return render(self.dot, "svg").decode()

    def save(self, path: str | PathLike[str]) -> Path:
        """Write the drawing to a file.

        Where Graphviz's `dot` is not installed, an image can't be laid out: its DOT text is written instead, to a
        file of the same name that ends in .gv, and a warning says how to install `dot`.

        Args:
            path: where to; the ending decides what is written: .gv or .dot (text), .svg, .png or .pdf.

        Returns:
            The path of the file that was written.

        Raises:
            ValueError: an ending that is not among these.
            RuntimeError: `dot` gave up on this drawing.

        >>> import minigrad as mg, tempfile
        >>> x = mg.tensor(2.0, requires_grad=True)
        >>> mg.draw(x * x).save(f"{tempfile.mkdtemp()}/square.gv").name
        'square.gv'
        """
        path = Path(path)
        ending = path.suffix.lower()
        if ending not in TEXT + RENDERED:
            raise ValueError(f"save: expected a path ending in {', '.join(TEXT + RENDERED)}, got {path.name!r}")
        if ending in RENDERED:
            try:
                rendered = render(self.dot, ending[1:])
            except DotMissing as missing:
                image, path = path, path.with_suffix(".gv")
                warnings.warn(f"save: wrote {path} instead of {image.name}: {missing}", stacklevel=2)
            else:
                path.write_bytes(rendered)
                return path
        path.write_text(self.dot, encoding="utf-8", newline="\n")
        return path

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """What a notebook shows: the SVG; without `dot` the DOT text; of a huge drawing, what to do with it."""
        if len(self.picture.boxes) > LARGEST_SHOWN:
            return {"text/plain": f"{self!r}: too large to lay out at once; .save('graph.svg') takes its time"}
        try:
            return {"image/svg+xml": self.svg, "text/plain": repr(self)}
        except (RuntimeError, OSError) as error:
            return {"text/plain": f"// {error}\n{self.dot}"}
