"""A picture as DOT text: shapes, colours and the hints that make `dot` lay time out from left to right."""

import math
from collections import Counter
from html import escape
from itertools import count
from typing import Any

from .picture import Arrow, Box, Cluster, Picture
from .wording import of_number

FONT = "Helvetica,Arial,sans-serif"
GREY = "#5F5F5F"
GRAPH = dict(
    rankdir="LR", nslimit="2", nodesep="0.13", ranksep="0.24", pad="0.15", bgcolor="white",
    fontname=FONT, fontsize="11", fontcolor=GREY,
)  # fmt: skip
# With `newrank`, `dot` lets each step begin where the one before let it; it takes minutes for many steps though.
LARGEST_IN_TIME = 200  # boxes
NODE = dict(shape="box", width="0.3", height="0.3", margin="0.07,0.035", fontname=FONT, fontsize="12")
EDGE = dict(
    color="#555555", arrowsize="0.6", fontname=FONT, fontsize="9", fontcolor=GREY,
    labelfontsize="9", labeldistance="1.2", labelangle="-30",
)  # fmt: skip

# Told apart by hue, by lightness where there is no hue, and by outline.
STYLES = {
    "parameter": dict(style="filled", fillcolor="#F9CF7B", color="#8F5B00", penwidth="1.8"),
    "input": dict(style="filled", fillcolor="#FFFFFF", color="#767676"),
    "op": dict(style="filled,rounded", fillcolor="#D9E8F5", color="#4A7FB0"),
    "output": dict(style="filled,rounded", fillcolor="#1F5A8C", color="#1F5A8C", fontcolor="#FFFFFF", peripheries="2"),
}
CLUSTER_FILLS = ("#F5F5F5", "#EBEBEB", "#E1E1E1")  # from the outside

# Gradients: from a thin light line to a thick dark one, viridis less its yellow.
SCALE = range(-6, 3, 2)  # log10 of the norms in the legend; beyond its ends the look stays
COLOURS = ((0x7A, 0xD1, 0x51), (0x22, 0xA8, 0x84), (0x2A, 0x78, 0x8E), (0x41, 0x44, 0x87), (0x44, 0x01, 0x54))
NONE = dict(color="#A6A6A6", style="dashed", penwidth="1")
ZERO = dict(color="#4D4D4D", style="dotted", penwidth="1.6")
NOT_FINITE = dict(color="#D55E00", style="solid", penwidth="4.5")
ANOMALY = dict(fillcolor="#FBD9C7", color="#D55E00", penwidth="4.5", fontcolor="#000000")


def to_dot(picture: Picture) -> str:
    """The DOT text of a picture; the same picture gives the same text."""
    import graphviz

    graph = graphviz.Digraph("minigrad", graph_attr=GRAPH, node_attr=NODE, edge_attr=EDGE)
    graph.attr("graph", label=caption(picture))
    if len(picture.boxes) <= LARGEST_IN_TIME:
        graph.attr("graph", newrank="true")
    add_cluster(graph, picture.clusters(), picture.has_gradients, 0, count())
    scopes = [box.scope for box in picture.boxes]
    parallel = Counter((arrow.source, arrow.target) for arrow in picture.arrows)
    for arrow in picture.arrows:
        weight = "9" if scopes[arrow.source] == scopes[arrow.target] else "1"  # keep together what was recorded so
        look = gradient_look(arrow.gradient) if picture.has_gradients else {}
        label = arrow_label(arrow, crowded=parallel[arrow.source, arrow.target] > 1)
        graph.edge(f"n{arrow.source}", f"n{arrow.target}", weight=weight, **label, **look)
    return str(graph.source)


def add_cluster(graph: Any, cluster: Cluster, has_gradients: bool, depth: int, number: "count[int]") -> None:
    """The boxes of a cluster, then the clusters inside it."""
    for box in cluster.boxes:
        graph.node(f"n{box.id}", label=f"<{'<BR/>'.join(box_lines(box))}>", **box_look(box, has_gradients))
    for inner in cluster.clusters.values():
        with graph.subgraph(name=f"cluster_{next(number)}") as subgraph:
            fill = CLUSTER_FILLS[min(depth, len(CLUSTER_FILLS) - 1)]
            label = f"<<B>{text(inner.label)}</B>>"
            subgraph.attr(label=label, labeljust="l", style="filled,rounded", fillcolor=fill, color="#BDBDBD")
            add_cluster(subgraph, inner, has_gradients, depth + 1, number)


# ---------------------------------------------------------------------- words


def box_lines(box: Box) -> list[str]:
    """What stands in a box: what it is, how it was called, its shape, its numbers."""
    title = f"<B>{text(box.name)}</B> = {text(box.title)}" if box.name else f"<B>{text(box.title)}</B>"
    details = [*box.arguments, box.form]
    details += [] if box.value is None else [box.value]
    details += [] if box.gradient is None else [f"grad {of_number(box.gradient)}"]
    details += [box.anomaly] if box.anomaly else []
    return [title, *[f'<FONT POINT-SIZE="10">{text(detail)}</FONT>' for detail in details]]


def arrow_label(arrow: Arrow, crowded: bool) -> dict[str, str]:
    """Which operand an arrow is, at its head; along it, which takes room, where that would not be told apart."""
    if not arrow.output and not crowded:
        return dict(headlabel=f"<{text(arrow.operand)}>") if arrow.operand else {}
    ends = [end for end in (arrow.output, arrow.operand) if end]
    return dict(label=f"<{text(' → '.join(ends))}>") if ends else {}


def text(raw: str) -> str:
    """Any text for an HTML-like label: escaped, and what can't be printed as its escape sequence."""
    printable = raw
    if not raw.isprintable():
        printable = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in raw)
    return escape(printable if printable.strip() else "\u00a0").replace("\\", r"\\")  # `dot` expands \N and \\


def caption(picture: Picture) -> str:
    """What stands below the drawing: a key to its looks, then the picture's own lines."""
    rows = [[chip(role, look) for role, look in STYLES.items()]]
    if picture.has_anomaly:
        rows[0].append(chip("first nan or inf", ANOMALY | dict(style="filled")))
    if picture.has_gradients:
        looks = {power: gradient_look(10.0**power) for power in SCALE}
        inks = {power: "#000000" if power <= -4 else "#FFFFFF" for power in SCALE}
        scale = [chip(f"1e{p}", dict(looks[p], fillcolor=looks[p]["color"], fontcolor=inks[p])) for p in SCALE]
        others = {"0": ZERO, "nan, inf": NOT_FINITE, "no gradient": NONE}
        rows += [["<TD>gradient norm</TD>", *scale], [chip(name, look) for name, look in others.items()]]
    lines = [table("".join(row)) for row in rows] + [text(line) for line in picture.caption]
    return f"<{table('</TR><TR>'.join(f'<TD>{line}</TD>' for line in lines))}>"


def table(cells: str) -> str:
    """Cells side by side, without lines."""
    return f'<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="3" CELLPADDING="2"><TR>{cells}</TR></TABLE>'


def chip(name: str, look: dict[str, str]) -> str:
    """One entry of the key: a word in the look that it explains."""
    style = next((style for style in ("dashed", "dotted") if style in look["style"]), "solid")
    cell = f'BORDER="1" STYLE="{style}" COLOR="{look["color"]}" BGCOLOR="{look.get("fillcolor", "#FFFFFF")}"'
    return f'<TD {cell}><FONT COLOR="{look.get("fontcolor", "#000000")}">{text(name)}</FONT></TD>'


# ---------------------------------------------------------------------- looks


def box_look(box: Box, has_gradients: bool) -> dict[str, str]:
    """A box's role, and with gradients its outline for the gradient; an anomaly before all else."""
    look = STYLES["output" if box.is_output else box.role]
    if box.anomaly:
        return look | ANOMALY
    if not has_gradients:
        return look
    gradient = gradient_look(box.gradient)
    return look | gradient | dict(style=f"{look['style']},{gradient['style']}")


def gradient_look(norm: float | None) -> dict[str, str]:
    """Pen and colour for a gradient's norm, by its logarithm; none, zero and not finite look like no number."""
    if norm is None:
        return NONE
    if norm == 0:
        return ZERO
    if not math.isfinite(norm):
        return NOT_FINITE
    share = (math.log10(norm) - SCALE[0]) / (SCALE[-1] - SCALE[0])
    share = min(max(share, 0.0), 1.0)
    place = share * (len(COLOURS) - 1)
    i = min(int(place), len(COLOURS) - 2)
    mixed = [round(a + (b - a) * (place - i)) for a, b in zip(COLOURS[i], COLOURS[i + 1], strict=True)]
    return dict(
        color="#" + "".join(f"{channel:02X}" for channel in mixed), style="solid", penwidth=f"{0.8 + 2.4 * share:.1f}"
    )
