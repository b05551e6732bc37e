"""minigrad: reverse-mode automatic differentiation over NumPy and CuPy, small enough to read in an afternoon."""

from .anomalies import AnomalyError as AnomalyError
from .anomalies import detect_anomaly as detect_anomaly
from .autodiff import grad as grad
from .autodiff import no_grad as no_grad
from .backend import DeviceError as DeviceError
from .backend import default_generator as default_generator
from .backend import generator as generator
from .backend import get_default_dtype as get_default_dtype
from .backend import seed as seed
from .backend import set_default_dtype as set_default_dtype
from .creation import as_tensor as as_tensor
from .creation import tensor as tensor
from .derivatives import hvp as hvp
from .derivatives import jacobian as jacobian
from .drawing import draw as draw
from .graph import GraphError as GraphError
from .graph import Tensor as Tensor
from .graph import scope as scope
from .graph import unrolled as unrolled
from .guarding import guard as guard
from .ops import *
from .registry import op as op

__version__ = "0.1.0"
