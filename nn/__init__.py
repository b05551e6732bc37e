"""Layers, losses, optimizers and checkpoints on minigrad, under PyTorch's names.

>>> import minigrad as mg, nn
>>> mg.seed(0)
>>> model = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))
>>> optimizer = nn.optim.Adam(model.parameters(), lr=0.1)
>>> x, y = mg.tensor([[0.0, 1.0], [1.0, 1.0]]), mg.tensor([[1.0], [0.0]])
>>> for _ in range(50):
...     loss = nn.functional.mse_loss(model(x), y)
...     optimizer.zero_grad()
...     loss.backward()
...     optimizer.step()
>>> loss.item() < 0.01
True
"""

from . import functional, init, optim
from .checkpoint import CheckpointError, load, load_metadata, save
from .convolution import AdaptiveAvgPool2d, AvgPool2d, BatchNorm2d, Conv2d, ConvTranspose2d, MaxPool2d, MaxUnpool2d
from .layers import Dropout, Embedding, Flatten, LayerNorm, Linear, ModuleList, ReLU, Sequential, Sigmoid, Tanh
from .module import Module, Parameter
from .recurrent import GRU, LSTM, RNN, GRUCell, LSTMCell, RNNCell

__all__ = [
    "functional", "init", "optim",
    "CheckpointError", "load", "load_metadata", "save",
    "Module", "Parameter", "Sequential", "ModuleList",
    "Linear", "Embedding", "LayerNorm", "Dropout", "Flatten", "ReLU", "Sigmoid", "Tanh",
    "Conv2d", "ConvTranspose2d", "MaxPool2d", "MaxUnpool2d", "AvgPool2d", "AdaptiveAvgPool2d",
    "BatchNorm2d",
    "RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell",
]  # fmt: skip
