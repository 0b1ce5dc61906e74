"""The optimisers: chains of the links in `fgrad.optim.transforms`."""

from collections.abc import Callable

from fgrad.optim.base import GradientTransformation, PyTree, Schedule, chain, fraction, nonnegative
from fgrad.optim.transforms import (
    add_decayed_weights,
    scale_by_adam,
    scale_by_learning_rate,
    scale_by_lion,
    scale_by_rms,
    scale_by_rss,
    trace,
)

Mask = PyTree | Callable[[PyTree], PyTree] | None


def sgd(
    learning_rate: float | Schedule,
    momentum: float | None = None,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> GradientTransformation:
    """Gradient descent: ``params - learning_rate * g``, with momentum if wanted.

    ``weight_decay`` adds ``weight_decay * params`` to the gradients before the momentum, as PyTorch does. Raises
    ValueError for a negative learning rate or decay and for a momentum outside [0, 1).

    >>> import numpy as np
    >>> optimizer = sgd(0.1, momentum=0.9)
    >>> params = np.array([1.0])
    >>> updates, state = optimizer.update(np.array([2.0]), optimizer.init(params), params)
    >>> updates
    array([-0.2])
    """
    links = [add_decayed_weights(weight_decay)]
    if momentum is not None:
        links.append(trace(fraction("sgd", "momentum", momentum), nesterov))
    return chain(*links, _descent("sgd", learning_rate))


def adam(
    learning_rate: float | Schedule,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    eps_root: float = 0.0,
    *,
    nesterov: bool = False,
) -> GradientTransformation:
    """Adam (Kingma and Ba, 2015): steps of about ``learning_rate`` per element; see `scale_by_adam`.

    >>> import numpy as np
    >>> optimizer = adam(0.01)
    >>> params = np.array([1.0, 1.0])
    >>> updates, state = optimizer.update(np.array([100.0, -0.1]), optimizer.init(params))
    >>> updates.round(6)
    array([-0.01,  0.01])
    """
    return chain(scale_by_adam(b1, b2, eps, eps_root, nesterov=nesterov), _descent("adam", learning_rate))


def adamw(
    learning_rate: float | Schedule,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    eps_root: float = 0.0,
    weight_decay: float | Schedule = 1e-4,
    mask: Mask = None,
    *,
    nesterov: bool = False,
) -> GradientTransformation:
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019): the decay is not divided by the gradients' size.

    ``mask`` tells which parameters decay; see `add_decayed_weights`. ``update`` needs ``params``.

    >>> import numpy as np
    >>> optimizer = adamw(0.1, weight_decay=0.5)
    >>> params = np.array([2.0])
    >>> optimizer.update(np.array([0.0]), optimizer.init(params), params)[0]
    array([-0.1])
    """
    return chain(
        scale_by_adam(b1, b2, eps, eps_root, nesterov=nesterov),
        add_decayed_weights(weight_decay, mask),
        _descent("adamw", learning_rate),
    )


def rmsprop(
    learning_rate: float | Schedule,
    decay: float = 0.9,
    eps: float = 1e-8,
    initial_scale: float = 0.0,
    eps_in_sqrt: bool = True,
    momentum: float | None = None,
    nesterov: bool = False,
) -> GradientTransformation:
    """RMSProp (Tieleman and Hinton, 2012): see `scale_by_rms`; momentum, if wanted, gathers the scaled steps.

    >>> import numpy as np
    >>> optimizer = rmsprop(0.1, decay=0.75, eps=0.0)
    >>> optimizer.update(np.array([3.0]), optimizer.init(np.zeros(1)))[0]
    array([-0.2])
    """
    links = [scale_by_rms(decay, eps, initial_scale, eps_in_sqrt), _descent("rmsprop", learning_rate)]
    if momentum is not None:
        links.append(trace(fraction("rmsprop", "momentum", momentum), nesterov))
    return chain(*links)


def adagrad(
    learning_rate: float | Schedule, initial_accumulator_value: float = 0.1, eps: float = 1e-7
) -> GradientTransformation:
    """AdaGrad (Duchi et al., 2011): steps shrink with the sum of all squared gradients; see `scale_by_rss`.

    >>> import numpy as np
    >>> optimizer = adagrad(0.1, initial_accumulator_value=7.0, eps=0.0)
    >>> optimizer.update(np.array([3.0]), optimizer.init(np.zeros(1)))[0]
    array([-0.075])
    """
    return chain(scale_by_rss(initial_accumulator_value, eps), _descent("adagrad", learning_rate))


def lion(
    learning_rate: float | Schedule,
    b1: float = 0.9,
    b2: float = 0.99,
    weight_decay: float | Schedule = 1e-3,
    mask: Mask = None,
) -> GradientTransformation:
    """Lion (Chen et al., 2023): steps of exactly ``learning_rate`` per element, plus decoupled weight decay.

    ``mask`` tells which parameters decay; see `add_decayed_weights`. ``update`` needs ``params``.

    >>> import numpy as np
    >>> optimizer = lion(0.1, weight_decay=0.0)
    >>> params = np.zeros(2)
    >>> optimizer.update(np.array([100.0, -0.1]), optimizer.init(params), params)[0]
    array([-0.1,  0.1])
    """
    return chain(scale_by_lion(b1, b2), add_decayed_weights(weight_decay, mask), _descent("lion", learning_rate))


def _descent(optimizer: str, learning_rate: float | Schedule) -> GradientTransformation:
    if not callable(learning_rate):
        learning_rate = nonnegative(optimizer, "learning_rate", learning_rate)
    return scale_by_learning_rate(learning_rate)
