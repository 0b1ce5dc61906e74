"""What every optimiser is made of: the pair of functions, composition, and the checks of their arguments."""

import numbers
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fgrad import numpy as fnp
from fgrad import tree
from fgrad.core.errors import ShapeError, TreeError, message
from fgrad.core.tree import explain_mismatch

PyTree = Any
Schedule = Callable[[Any], Any]


class GradientTransformation(NamedTuple):
    """A pure map from gradients to parameter updates, with a state.

    ``init(params) -> state`` makes the first state; ``update(updates, state, params=None) -> (updates, state)`` does
    one step. All are pytrees; ``updates`` has the structure and shapes of ``params``.

    >>> import numpy as np
    >>> halve = GradientTransformation(init=lambda params: (), update=lambda g, state, params=None: (g / 2, state))
    >>> halve.update(np.array([2.0, 4.0]), halve.init(None))
    (array([1., 2.]), ())
    """

    init: Callable[[PyTree], PyTree]
    update: Callable[..., tuple[PyTree, PyTree]]


class EmptyState(NamedTuple):
    """The state of a transformation that remembers nothing."""


def stateless(update: Callable[[PyTree, PyTree], PyTree]) -> GradientTransformation:
    """A transformation from ``update(updates, params) -> updates`` alone."""
    return GradientTransformation(
        lambda params: EmptyState(), lambda updates, state, params=None: (update(updates, params), state)
    )


def identity() -> GradientTransformation:
    """The transformation that returns its gradients unchanged.

    >>> identity().update(3.0, EmptyState())
    (3.0, EmptyState())
    """
    return stateless(lambda updates, params: updates)


def chain(*transformations: GradientTransformation) -> GradientTransformation:
    """Apply transformations one after the other; the state is the tuple of their states.

    ``update`` raises TreeError or ShapeError, naming the path, where the gradients do not have the structure or the
    shapes of ``params``.

    >>> import numpy as np
    >>> from fgrad import optim
    >>> optimizer = optim.chain(optim.clip(1.0), optim.scale(-0.1))
    >>> params = np.array([1.0, 1.0])
    >>> optimizer.update(np.array([5.0, 0.5]), optimizer.init(params))[0]
    array([-0.1 , -0.05])
    """

    def init(params: PyTree) -> tuple[PyTree, ...]:
        return tuple(transformation.init(params) for transformation in transformations)

    def update(updates: PyTree, state: PyTree, params: PyTree = None) -> tuple[PyTree, PyTree]:
        if len(state) != len(transformations):
            raise ValueError(
                f"this optimiser chains {len(transformations)} transformations, but the state has {len(state)} parts; "
                f"pass a state made by the init of this same optimiser"
            )
        if params is not None:
            check_matches("grads", updates, "params", params)
        states = []
        for transformation, part in zip(transformations, state, strict=True):
            updates, part = transformation.update(updates, part, params)
            states.append(part)
        return updates, tuple(states)

    return GradientTransformation(init, update)


def apply_updates(params: PyTree, updates: PyTree) -> PyTree:
    """``params + updates``, leaf by leaf, in the dtypes of ``params``.

    Raises TreeError or ShapeError, naming the path, where the two differ in structure or shape.

    >>> import numpy as np
    >>> apply_updates({"w": np.float32(1.0)}, {"w": np.float64(0.5)})
    {'w': np.float32(1.5)}
    """
    check_matches("updates", updates, "params", params)
    return tree.map(lambda p, u: cast_like(p + u, p), params, updates)


def cast_like(x: Any, like: Any) -> Any:
    """``x`` in the dtype of ``like``; ``x`` itself where it has that dtype already."""
    dtype = fnp.result_type(like)
    if fnp.result_type(x) == dtype:
        return x
    return x.astype(dtype) if hasattr(x, "astype") else fnp.asarray(x, dtype=dtype)


def check_matches(name: str, got: PyTree, reference_name: str, reference: PyTree) -> None:
    """Raise TreeError or ShapeError unless ``got`` has the structure and the leaf shapes of ``reference``."""
    structure = tree.structure(reference)
    if tree.structure(got) != structure:
        difference = explain_mismatch(structure, got, name=name)
        what = f"{name} must have the structure of {reference_name}: {difference}"
        raise TreeError(message(what, do=f"pass one leaf for each leaf of {reference_name}"))
    wanted, shapes = ([_shape(leaf) for leaf in tree.leaves(t)] for t in (reference, got))
    if wanted != shapes:
        index = [a == b for a, b in zip(wanted, shapes, strict=True)].index(False)
        path = name + tree.keystr(tree.leaves_with_path(got)[index][0])
        what = f"{name} must have the shapes of {reference_name}: at {path} expected {wanted[index]}"
        raise ShapeError(message(what, got=shapes[index], do="reshape it, or sum over the axes that are too many"))


def _shape(leaf: Any) -> tuple[Any, ...]:
    return getattr(leaf, "shape", ())


def nonnegative(function: str, name: str, value: Any) -> Any:
    """A hyperparameter that must be at least 0; see `hyperparameter`."""
    return hyperparameter(function, name, value, lambda x: x >= 0, "at least 0")


def fraction(function: str, name: str, value: Any) -> Any:
    """A hyperparameter that must lie in [0, 1); see `hyperparameter`."""
    return hyperparameter(function, name, value, lambda x: 0 <= x < 1, "in [0, 1)")


def hyperparameter(function: str, name: str, value: Any, accept: Callable[[float], bool], must_be: str) -> Any:
    """A known number as a checked Python float, whose weak dtype leaves that of the parameters alone.

    A traced value is passed on unchecked.
    """
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if isinstance(value, numbers.Real):
        if not accept(value):
            raise ValueError(f"{function}: {name} must be {must_be}, got {value}")
        return float(value)
    if getattr(value, "shape", None) != ():
        raise TypeError(f"{function}: {name} must be a single number, got {value!r}")
    return value
