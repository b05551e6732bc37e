"""The ops: one file a family, each op's forward function with its gradient beside it.

An op's annotations are those of its public function: it takes arrays or Tensors and returns a Tensor. The
forward function itself sees arrays only.
"""

from ..methods import functions
from .devices import *
from .elementwise import *
from .indexing import *
from .products import *
from .reductions import *
from .shapes import *

__all__ = [*functions]  # exactly the ops, so that a new one is public by being registered
