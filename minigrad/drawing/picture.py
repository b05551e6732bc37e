"""What a drawing shows, apart from how: boxes, arrows, clusters and a caption.

A level makes a `Picture` of a graph, a renderer makes text of a `Picture`; neither knows the other.
"""

from dataclasses import dataclass, field
from typing import Literal

Role = Literal["parameter", "input", "op"]


@dataclass(frozen=True, slots=True)
class Box:
    """One value: a parameter, an input, or what an op computed."""

    id: int  # boxes are numbered in order of creation
    role: Role
    title: str  # the op, or the name of a leaf
    name: str | None  # what the program calls the op's result
    arguments: tuple[str, ...]  # what else the op was called with: "axis=0"
    form: str  # shape, and the dtype where it is not the usual one
    scope: tuple[str, ...]  # the clusters it lies in, from the outside
    is_output: bool = False
    value: str | None = None
    gradient: float | None = None  # the norm of dL/d(value); None: no gradient comes here
    anomaly: str = ""  # what `detect_anomaly` found here


@dataclass(frozen=True, slots=True)
class Arrow:
    """One operand: from the box it was computed in to the box that reads it."""

    source: int
    target: int
    operand: str = ""  # which operand it is, where that matters
    output: str = ""  # which of the source's several results
    gradient: float | None = None  # the norm of what comes back along this arrow


@dataclass(frozen=True, slots=True)
class Cluster:
    """The boxes recorded in one scope, and the clusters of the scopes inside it, in order of creation."""

    label: str
    boxes: list[Box] = field(default_factory=list)
    clusters: dict[str, "Cluster"] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Picture:
    """All that a drawing shows."""

    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]
    caption: tuple[str, ...]  # lines
    has_gradients: bool

    @property
    def has_anomaly(self) -> bool:
        """Whether some box is marked."""
        return any(box.anomaly for box in self.boxes)

    def clusters(self) -> Cluster:
        """The boxes sorted into nested clusters, under a root without a name."""
        root = Cluster("")
        for box in sorted(self.boxes, key=lambda box: box.role == "parameter"):  # made before what they are used in
            cluster = root
            for name in box.scope:
                cluster = cluster.clusters.setdefault(name, Cluster(name))
            cluster.boxes.append(box)
        return root
