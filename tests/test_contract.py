"""The names that users, and PyTorch's weights, rely on: each is there, and says what it is."""

from __future__ import annotations

import inspect
import pkgutil
from operator import attrgetter
from typing import Any

import pytest

import minigrad as mg
import nn

ENGINE = """
    tensor as_tensor set_default_dtype get_default_dtype Tensor grad jacobian hvp no_grad scope unrolled
    seed generator default_generator op draw GraphError DeviceError
"""
OPS = """
    add subtract multiply divide power negative absolute sign exp expm1 log log1p sqrt square sin cos tanh sigmoid relu
    softplus maximum minimum where clip
    sum mean var max min logsumexp softmax log_softmax cumsum
    matmul einsum tensordot outer
    reshape transpose swapaxes moveaxis expand_dims squeeze broadcast_to concatenate stack unstack split pad flip tile
    getitem take take_along_axis index_add
"""
TENSOR = """
    data grad shape ndim size dtype device requires_grad T
    backward retain_grad detach item numpy to astype _repr_mimebundle_
"""
OPERATORS = """
    __float__ __int__ __bool__ __len__ __iter__ __dlpack__ __array_ufunc__ __array_function__
    __eq__ __ne__ __lt__ __le__ __gt__ __ge__ __setitem__ __getitem__
    __add__ __radd__ __sub__ __rsub__ __mul__ __rmul__ __truediv__ __rtruediv__ __pow__ __rpow__ __matmul__ __rmatmul__
    __neg__ __abs__
"""
DRAWING = "save dot svg _repr_mimebundle_"
TESTING = "check_grads gradient_test strategies laws"
NN = """
    functional optim init save load CheckpointError
    Module Parameter Sequential ModuleList Linear Embedding Dropout LayerNorm Flatten ReLU Tanh Sigmoid
    RNNCell LSTMCell GRUCell RNN LSTM GRU
"""
MODULE = """
    parameters named_parameters buffers register_buffer state_dict load_state_dict train eval to requires_grad_
    modules named_modules children zero_grad forward
"""
FUNCTIONAL = """
    cross_entropy nll_loss mse_loss binary_cross_entropy_with_logits one_hot softmax log_softmax dropout linear
    embedding layer_norm relu tanh sigmoid softplus
"""
OPTIM = """
    SGD Adagrad RMSprop Adam AdamW clip_grad_norm_ clip_grad_value_ StepLR ExponentialLR CosineAnnealingLR lr_scheduler
"""
OPTIMIZER = "step zero_grad add_param_group state_dict load_state_dict"
INIT = """
    uniform_ normal_ trunc_normal_ constant_ zeros_ ones_ eye_ orthogonal_
    xavier_uniform_ xavier_normal_ kaiming_uniform_ kaiming_normal_ calculate_gain
"""

CONTRACT: list[tuple[str, str]] = [
    ("minigrad", ENGINE),
    ("minigrad", OPS),
    ("minigrad.Tensor", TENSOR),
    ("minigrad.drawing.Drawing", DRAWING),
    ("minigrad.testing", TESTING),
    ("nn", NN),
    ("nn.Module", MODULE),
    ("nn.functional", FUNCTIONAL),
    ("nn.optim", OPTIM),
    ("nn.optim.Optimizer", OPTIMIZER),
    ("nn.init", INIT),
]


@pytest.mark.parametrize(("owner", "name"), [(owner, name) for owner, names in CONTRACT for name in names.split()])
def test_every_name_is_there_and_documented(owner: str, name: str) -> None:
    value: Any = pkgutil.resolve_name(owner)
    value = inspect.getattr_static(value, name) if inspect.isclass(value) else getattr(value, name)
    assert inspect.getdoc(value), f"{owner}.{name} has no docstring"


@pytest.mark.parametrize("name", OPERATORS.split())
def test_every_operator_is_there(name: str) -> None:
    assert callable(getattr(mg.Tensor, name))
    assert getattr(mg.Tensor, name) is not getattr(object, name, None)


def test_signatures() -> None:
    expected = {
        "tensor": "data, requires_grad=False, dtype=None, device=None",
        "grad": "outputs, inputs, grad_outputs=None, retain_graph=None, create_graph=False, allow_unused=False",
        "Tensor.backward": "self, gradient=None, retain_graph=None, create_graph=False",
    }
    for name, signature in expected.items():
        assert arguments(attrgetter(name)(mg)) == signature
    layers = "num_layers=1, bias=True, batch_first=False, dropout=0.0, bidirectional=False"
    expected = {
        "RNN": f"input_size, hidden_size, {layers}".replace("bias=", "nonlinearity='tanh', bias="),
        "LSTM": f"input_size, hidden_size, {layers}, *, forget_bias=None",
        "GRU": f"input_size, hidden_size, {layers}, *, variant='cudnn'",
        "RNN.forward": "self, x, state=None, lengths=None, return_gates=False",
    }
    for name, signature in expected.items():
        assert arguments(attrgetter(name)(nn)) == signature


def arguments(function: Any) -> str:
    """A signature without its annotations."""
    signature = inspect.signature(function)
    bare = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    return str(signature.replace(parameters=bare, return_annotation=signature.empty))[1:-1]


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_names_of_recurrent_weights(kind: str) -> None:
    layer = getattr(nn, kind)(2, 3, num_layers=2, bidirectional=True)
    names = [f"{name}_l{k}{end}" for k in range(2) for end in ("", "_reverse")
             for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]  # fmt: skip
    assert list(layer.state_dict()) == names
