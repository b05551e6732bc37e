"""The ops: one file a family, each op's forward function with its gradient beside it.

An op's annotations are those of its public function: it takes arrays or Tensors and returns a Tensor. The
forward function itself sees arrays only.
"""

from typing import TYPE_CHECKING

from ..methods import functions
from .convolution import *
from .devices import *
from .elementwise import *
from .indexing import *
from .losses import *
from .normalisation import *
from .pooling import *
from .products import *
from .recurrent import *
from .reductions import *
from .sampling import *
from .shapes import *

if not TYPE_CHECKING:  # type checkers can not evaluate it, and would see no op at all
    __all__ = [*functions]  # exactly the ops, so that a new one is public by being registered
