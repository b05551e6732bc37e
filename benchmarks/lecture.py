"""The lecture's character RNN by hand: forward, backpropagation through time and Adagrad in plain NumPy, float64.

    h_t = tanh(W_xh x_t + W_hh h_{t-1} + b_h)       p_t = softmax(W_hy h_t + b_y)       L = -sum_t log p_t[y_t]

The equations and constants are those of Karpathy's min-char-rnn (2015): x_t is a one-hot column, gradients are clipped
to [-5, 5], and Adagrad takes steps of 0.1 g / sqrt(sum of g^2 + 1e-8).
"""

from collections.abc import Callable, Mapping

import numpy as np

Columns = list[np.ndarray]


def training(weights: Mapping[str, np.ndarray], inputs: np.ndarray, targets: np.ndarray) -> Callable[[], float]:
    """Training steps on T characters, the state carried on from step to step.

    Args:
        weights: the initial ones, under the names of a model with an `RNN` and a `Linear` layer called `output`.
        inputs, targets: ids, of shape (T,).

    Returns:
        A function that takes one step and returns the loss before it.
    """
    W_xh, W_hh = weights["rnn.weight_ih_l0"].copy(), weights["rnn.weight_hh_l0"].copy()  # (H, V), (H, H)
    b_h = (weights["rnn.bias_ih_l0"] + weights["rnn.bias_hh_l0"])[:, None]  # (H, 1)
    W_hy, b_y = weights["output.weight"].copy(), weights["output.bias"][:, None].copy()  # (V, H), (V, 1)
    parameters = [W_xh, W_hh, b_h, W_hy, b_y]
    squares = [np.zeros_like(parameter) for parameter in parameters]
    H, V = W_xh.shape
    h_carried = np.zeros((H, 1))

    def forward() -> tuple[Columns, Columns, Columns, float]:
        xs, hs, ps, loss = [], [h_carried], [], 0.0
        for i, target in zip(inputs, targets, strict=True):
            x = np.zeros((V, 1))
            x[i] = 1
            h = np.tanh(W_xh @ x + W_hh @ hs[-1] + b_h)
            e = np.exp(W_hy @ h + b_y)
            xs.append(x)
            hs.append(h)
            ps.append(e / e.sum())
            loss -= np.log(ps[-1][target, 0])
        return xs, hs, ps, loss

    def backward(xs: Columns, hs: Columns, ps: Columns) -> Columns:
        gradients = dW_xh, dW_hh, db_h, dW_hy, db_y = [np.zeros_like(parameter) for parameter in parameters]
        dh_next = np.zeros((H, 1))
        for t in reversed(range(len(xs))):
            dy = ps[t].copy()
            dy[targets[t]] -= 1
            da = (1 - hs[t + 1] ** 2) * (W_hy.T @ dy + dh_next)
            dW_hy += dy @ hs[t + 1].T
            db_y += dy
            dW_xh += da @ xs[t].T
            dW_hh += da @ hs[t].T
            db_h += da
            dh_next = W_hh.T @ da
        return gradients

    def step() -> float:
        nonlocal h_carried
        xs, hs, ps, loss = forward()
        for parameter, gradient, square in zip(parameters, backward(xs, hs, ps), squares, strict=True):
            np.clip(gradient, -5, 5, out=gradient)
            square += gradient**2
            parameter -= 0.1 * gradient / np.sqrt(square + 1e-8)
        h_carried = hs[-1]
        return float(loss)

    return step
