"""The links from which optimisers are chained: each maps gradients to updates and keeps its own state."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fgrad import numpy as fnp
from fgrad import tree
from fgrad.core.tree import prefix_leaves
from fgrad.optim.base import (
    GradientTransformation,
    PyTree,
    Schedule,
    cast_like,
    check_matches,
    fraction,
    hyperparameter,
    identity,
    nonnegative,
    stateless,
)


class ScaleByScheduleState(NamedTuple):
    """``count``: the number of updates done, an int64 scalar."""

    count: Any


class TraceState(NamedTuple):
    """``trace``: the decaying sum of the gradients, shaped like the parameters."""

    trace: PyTree


class ScaleByAdamState(NamedTuple):
    """``count``: updates done, int64; ``mu``, ``nu``: averages of the gradients and of their squares."""

    count: Any
    mu: PyTree
    nu: PyTree


class ScaleByRmsState(NamedTuple):
    """``nu``: the average of the squared gradients."""

    nu: PyTree


class ScaleByRssState(NamedTuple):
    """``sum_of_squares``: the sum of the squared gradients."""

    sum_of_squares: PyTree


class ScaleByLionState(NamedTuple):
    """``mu``: the average of the gradients."""

    mu: PyTree


def global_norm(updates: PyTree) -> Any:
    """The Euclidean norm of all leaves taken as one vector: a scalar.

    >>> import numpy as np
    >>> float(global_norm({"a": np.array([3.0]), "b": np.array([[4.0]])}))
    5.0
    """
    return fnp.sqrt(sum(fnp.sum(_abs_squared(leaf)) for leaf in tree.leaves(updates)))


def clip(max_delta: float) -> GradientTransformation:
    """Clip every element of the gradients to [-max_delta, max_delta].

    >>> import numpy as np
    >>> clip(1.0).update(np.array([-3.0, 0.5]), ())[0]
    array([-1. ,  0.5])
    """
    max_delta = nonnegative("clip", "max_delta", max_delta)
    return stateless(
        lambda updates, params: tree.map(lambda g: cast_like(fnp.clip(g, -max_delta, max_delta), g), updates)
    )


def clip_by_global_norm(max_norm: float) -> GradientTransformation:
    """Scale all gradients by one factor so that their `global_norm` is at most ``max_norm`` (> 0).

    >>> import numpy as np
    >>> clip_by_global_norm(1.0).update([np.array([3.0]), np.array([4.0])], ())[0]
    [array([0.6]), array([0.8])]
    """
    max_norm = hyperparameter("clip_by_global_norm", "max_norm", max_norm, lambda x: x > 0, "positive")

    def update(updates: PyTree, params: PyTree) -> PyTree:
        factor = max_norm / fnp.maximum(global_norm(updates), max_norm)
        return tree.map(lambda g: _times(factor, g), updates)

    return stateless(update)


def scale(step_size: float) -> GradientTransformation:
    """Multiply the gradients by a number, of any sign.

    >>> import numpy as np
    >>> scale(-0.5).update(np.array([2.0, 4.0]), ())[0]
    array([-1., -2.])
    """
    step_size = hyperparameter("scale", "step_size", step_size, lambda x: x == x, "a number other than NaN")
    return stateless(lambda updates, params: tree.map(lambda g: _times(step_size, g), updates))


def scale_by_schedule(step_size_fn: Schedule) -> GradientTransformation:
    """Multiply the gradients by ``step_size_fn(count)``, where count is the number of updates done before.

    >>> import numpy as np
    >>> halving = scale_by_schedule(lambda count: 0.5**count)
    >>> state = halving.init(None)
    >>> _, state = halving.update(np.array([8.0]), state)
    >>> halving.update(np.array([8.0]), state)[0]
    array([4.])
    """

    def update(updates: PyTree, state: ScaleByScheduleState, params: PyTree = None):
        factor = step_size_fn(state.count)
        return tree.map(lambda g: _times(factor, g), updates), ScaleByScheduleState(state.count + 1)

    return GradientTransformation(lambda params: ScaleByScheduleState(np.int64(0)), update)


def scale_by_learning_rate(learning_rate: float | Schedule, *, flip_sign: bool = True) -> GradientTransformation:
    """Multiply by minus a learning rate (number or schedule), which makes descent of the gradient; the last link.

    With ``flip_sign=False`` the sign stays. Raises ValueError where the rate is a negative number.

    >>> import numpy as np
    >>> scale_by_learning_rate(0.1).update(np.array([1.0]), ())[0]
    array([-0.1])
    """
    sign = -1 if flip_sign else 1
    if callable(learning_rate):
        return scale_by_schedule(lambda count: sign * learning_rate(count))
    return scale(sign * nonnegative("scale_by_learning_rate", "learning_rate", learning_rate))


def add_decayed_weights(
    weight_decay: float | Schedule = 0.0, mask: PyTree | Callable[[PyTree], PyTree] | None = None
) -> GradientTransformation:
    """Add ``weight_decay * params`` to the gradients.

    ``weight_decay`` may be a schedule. ``mask`` restricts the decay: a pytree of bools, a prefix of the parameters'
    (one bool may stand for a whole branch), or a function from the parameters to such a tree. ``update`` needs
    ``params`` and raises ValueError without them, unless the decay is 0 throughout.

    >>> import numpy as np
    >>> params = {"b": np.array([10.0]), "w": np.array([10.0])}
    >>> grads = {"b": np.array([1.0]), "w": np.array([1.0])}
    >>> decay = add_decayed_weights(0.1, mask={"b": False, "w": True})
    >>> decay.update(grads, decay.init(params), params)[0]
    {'b': array([1.]), 'w': array([2.])}
    """

    def decayed(factor: Any, updates: PyTree, params: PyTree) -> PyTree:
        if params is None:
            raise ValueError("weight decay needs the parameters, got params=None: call update(grads, state, params)")
        check_matches("grads", updates, "params", params)
        chosen = True if mask is None else mask(params) if callable(mask) else mask
        grads, structure = tree.flatten(updates)
        leaves = zip(grads, tree.leaves(params), prefix_leaves(chosen, params, name="the mask"), strict=True)
        return tree.unflatten(
            structure, [cast_like(g + _times(factor, p), g) if wanted else g for g, p, wanted in leaves]
        )

    if not callable(weight_decay):
        constant = nonnegative("add_decayed_weights", "weight_decay", weight_decay)
        if type(constant) is float and constant == 0:
            return identity()
        return stateless(lambda updates, params: decayed(constant, updates, params))

    def update(updates: PyTree, state: ScaleByScheduleState, params: PyTree = None):
        return decayed(weight_decay(state.count), updates, params), ScaleByScheduleState(state.count + 1)

    return GradientTransformation(lambda params: ScaleByScheduleState(np.int64(0)), update)


def trace(decay: float, nesterov: bool = False) -> GradientTransformation:
    """Momentum: replace the gradients by their decaying sum ``t = g + decay * t``.

    With ``nesterov`` the result looks one step ahead, ``g + decay * t`` (Sutskever et al., "On the importance of
    initialization and momentum in deep learning", 2013). ``decay`` is in [0, 1).

    >>> import numpy as np
    >>> momentum = trace(0.5)
    >>> _, state = momentum.update(np.array([1.0]), momentum.init(np.array([0.0])))
    >>> momentum.update(np.array([1.0]), state)[0]
    array([1.5])
    """
    decay = fraction("trace", "decay", decay)

    def update(updates: PyTree, state: TraceState, params: PyTree = None):
        check_matches("grads", updates, "the optimiser's state", state.trace)

        def accumulate(g: Any, t: Any) -> Any:
            return cast_like(g + decay * t, t)

        total = tree.map(accumulate, updates, state.trace)
        return tree.map(accumulate, updates, total) if nesterov else total, TraceState(total)

    return GradientTransformation(lambda params: TraceState(tree.map(fnp.zeros_like, params)), update)


def scale_by_adam(
    b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8, eps_root: float = 0.0, *, nesterov: bool = False
) -> GradientTransformation:
    """Divide the average gradient by the root of the average squared gradient, both corrected for their start at zero.

    The update is ``m / (sqrt(v + eps_root) + eps)`` (Kingma and Ba, "Adam", 2015); ``nesterov`` averages the present
    gradient in once more (Dozat, "Incorporating Nesterov Momentum into Adam", 2016). ``b1`` and ``b2`` are in [0, 1).

    >>> import numpy as np
    >>> rule = scale_by_adam()
    >>> rule.update(np.array([10.0, -0.1]), rule.init(np.zeros(2)))[0].round(6)
    array([ 1., -1.])
    """
    b1, b2 = fraction("scale_by_adam", "b1", b1), fraction("scale_by_adam", "b2", b2)
    eps, eps_root = nonnegative("scale_by_adam", "eps", eps), nonnegative("scale_by_adam", "eps_root", eps_root)

    def init(params: PyTree) -> ScaleByAdamState:
        return ScaleByAdamState(np.int64(0), tree.map(fnp.zeros_like, params), _squares_like(params, 0.0))

    def update(updates: PyTree, state: ScaleByAdamState, params: PyTree = None):
        check_matches("grads", updates, "the optimiser's state", state.mu)
        count = state.count + 1
        mu = tree.map(lambda g, m: _average(g, m, b1), updates, state.mu)
        nu = tree.map(lambda g, v: _average(_abs_squared(g), v, b2), updates, state.nu)

        def direction(g: Any, m: Any, v: Any) -> Any:
            if nesterov:
                m = b1 * _unbiased(m, b1, count + 1) + (1 - b1) * _unbiased(g, b1, count)
            else:
                m = _unbiased(m, b1, count)
            return cast_like(m / (fnp.sqrt(_unbiased(v, b2, count) + eps_root) + eps), g)

        return tree.map(direction, updates, mu, nu), ScaleByAdamState(count, mu, nu)

    return GradientTransformation(init, update)


def scale_by_rms(
    decay: float = 0.9, eps: float = 1e-8, initial_scale: float = 0.0, eps_in_sqrt: bool = True
) -> GradientTransformation:
    """Divide the gradients by the root of their average square (Tieleman and Hinton, "RMSProp", 2012).

    The divisor is ``sqrt(v + eps)``, or ``sqrt(v) + eps`` with ``eps_in_sqrt=False``; v starts at ``initial_scale``.

    >>> import numpy as np
    >>> rule = scale_by_rms(decay=0.75, eps=0.0)
    >>> rule.update(np.array([3.0]), rule.init(np.zeros(1)))[0]
    array([2.])
    """
    decay, eps = fraction("scale_by_rms", "decay", decay), nonnegative("scale_by_rms", "eps", eps)

    def update(updates: PyTree, state: ScaleByRmsState, params: PyTree = None):
        check_matches("grads", updates, "the optimiser's state", state.nu)
        nu = tree.map(lambda g, v: _average(_abs_squared(g), v, decay), updates, state.nu)

        def direction(g: Any, v: Any) -> Any:
            return cast_like(g / (fnp.sqrt(v + eps) if eps_in_sqrt else fnp.sqrt(v) + eps), g)

        return tree.map(direction, updates, nu), ScaleByRmsState(nu)

    return GradientTransformation(lambda params: ScaleByRmsState(_squares_like(params, initial_scale)), update)


def scale_by_rss(initial_accumulator_value: float = 0.1, eps: float = 1e-7) -> GradientTransformation:
    """Divide the gradients by the root of the sum of all their squares so far (Duchi et al., "AdaGrad", 2011).

    An element whose gradients were all zero stays where it is.

    >>> import numpy as np
    >>> rule = scale_by_rss(initial_accumulator_value=7.0, eps=0.0)
    >>> rule.update(np.array([3.0]), rule.init(np.zeros(1)))[0]
    array([0.75])
    """
    eps = nonnegative("scale_by_rss", "eps", eps)

    def update(updates: PyTree, state: ScaleByRssState, params: PyTree = None):
        check_matches("grads", updates, "the optimiser's state", state.sum_of_squares)
        total = tree.map(lambda g, t: cast_like(_abs_squared(g) + t, t), updates, state.sum_of_squares)

        def direction(g: Any, t: Any) -> Any:
            return cast_like(g / fnp.sqrt(fnp.where(t == 0, 1, t + eps)), g)

        return tree.map(direction, updates, total), ScaleByRssState(total)

    def init(params: PyTree) -> ScaleByRssState:
        return ScaleByRssState(_squares_like(params, initial_accumulator_value))

    return GradientTransformation(init, update)


def scale_by_lion(b1: float = 0.9, b2: float = 0.99) -> GradientTransformation:
    """The sign of an average gradient (Chen et al., "Symbolic Discovery of Optimization Algorithms", 2023).

    ``b1`` mixes the average into the present update, ``b2`` the present gradient into the average.

    >>> import numpy as np
    >>> rule = scale_by_lion()
    >>> rule.update(np.array([10.0, -0.1]), rule.init(np.zeros(2)))[0]
    array([ 1., -1.])
    """
    b1, b2 = fraction("scale_by_lion", "b1", b1), fraction("scale_by_lion", "b2", b2)

    def update(updates: PyTree, state: ScaleByLionState, params: PyTree = None):
        check_matches("grads", updates, "the optimiser's state", state.mu)
        signs = tree.map(lambda g, m: cast_like(fnp.sign((1 - b1) * g + b1 * m), g), updates, state.mu)
        return signs, ScaleByLionState(tree.map(lambda g, m: _average(g, m, b2), updates, state.mu))

    return GradientTransformation(lambda params: ScaleByLionState(tree.map(fnp.zeros_like, params)), update)


def _times(factor: Any, x: Any) -> Any:
    # A Python number is weak already; anything else has a dtype that must not reach the result.
    return factor * x if type(factor) in (float, int) else cast_like(factor, x) * x


def _average(new: Any, average: Any, decay: Any) -> Any:
    return cast_like((1 - decay) * new + decay * average, average)


def _unbiased(average: Any, decay: Any, count: Any) -> Any:
    return average / cast_like(1 - decay**count, average)


def _abs_squared(x: Any) -> Any:
    if np.issubdtype(fnp.result_type(x), np.complexfloating):
        return fnp.square(fnp.real(x)) + fnp.square(fnp.imag(x))
    return fnp.square(x)


def _squares_like(params: PyTree, value: float) -> PyTree:
    return tree.map(lambda p: fnp.full_like(fnp.real(p), value), params)
