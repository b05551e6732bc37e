"""Moving values between devices, inside the graph."""

from typing import Any

from ..backend import Array, move
from ..graph import Tensor
from ..registry import op


@op(
    x=lambda g, device, source: to_device(g, device=source, source=device),
    cases=lambda d: d.call(d.array(d.shape()), device=d.device, source=d.device),
    reference=lambda x, device, source: x,
)
def to_device(xp: Any, x: Array, *, device: str, source: str) -> Tensor:
    """x on another device; its gradient comes back to `source`."""
    return move(x, device)
