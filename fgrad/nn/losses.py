"""Loss functions: one value per element, or per example where they have an ``axis``; average them as you like.

Names and definitions are those of optax. Predictions and targets broadcast against each other like NumPy's operands.
"""

import numpy as np
from numpy.typing import ArrayLike

from fgrad import numpy as fnp
from fgrad.nn.activations import inexact, log_sigmoid
from fgrad.nn.normalize import Axis, log_softmax, logsumexp


def softmax_cross_entropy(
    logits: ArrayLike, labels: ArrayLike, axis: Axis = -1, where: ArrayLike | None = None
) -> np.ndarray:
    """``-sum(labels * log_softmax(logits))`` along ``axis``, for labels that are probabilities of the classes.

    Classes where the mask ``where`` is False take no part.

    >>> import numpy as np
    >>> softmax_cross_entropy(np.array([[0.0, 1000.0]]), np.array([[1.0, 0.0]]))
    array([1000.])
    """
    log_probabilities = log_softmax(logits, axis, where)
    if where is not None:
        log_probabilities = fnp.where(where, log_probabilities, 0)
    return -fnp.sum(labels * log_probabilities, axis=axis)


def softmax_cross_entropy_with_integer_labels(
    logits: ArrayLike, labels: ArrayLike, axis: int = -1, where: ArrayLike | None = None
) -> np.ndarray:
    """`softmax_cross_entropy` for labels that are the index of the right class along ``axis``.

    ``labels`` has the shape of ``logits`` without ``axis``. Classes where the mask ``where`` is False take no part.
    Raises TypeError for labels that are not integers, and IndexError for a label that is no class; a negative label
    counts from the end, as in NumPy.

    >>> import numpy as np
    >>> softmax_cross_entropy_with_integer_labels(np.array([[0.0, 1000.0]]), np.array([0]))
    array([1000.])
    """
    logits, labels = inexact(logits), fnp.asarray(labels)
    if not np.issubdtype(labels.dtype, np.integer):
        raise TypeError(
            f"softmax_cross_entropy_with_integer_labels: labels must be integers, got dtype {labels.dtype}; "
            f"for probabilities use softmax_cross_entropy"
        )
    chosen = fnp.squeeze(fnp.take_along_axis(logits, fnp.expand_dims(labels, axis), axis), axis)
    loss = logsumexp(logits, axis, where=where) - chosen
    return loss if where is None else fnp.where(fnp.any(where, axis=axis), loss, 0)


def sigmoid_binary_cross_entropy(logits: ArrayLike, labels: ArrayLike) -> np.ndarray:
    """``-labels * log(sigmoid(logits)) - (1 - labels) * log(1 - sigmoid(logits))``, element by element.

    ``labels`` are probabilities of the positive class; they are taken in the dtype of ``logits``.

    >>> import numpy as np
    >>> sigmoid_binary_cross_entropy(np.array([-1000.0, 1000.0]), np.array([1, 1]))
    array([1000.,    0.])
    """
    logits = inexact(logits)
    labels = fnp.asarray(labels).astype(logits.dtype)
    return -labels * log_sigmoid(logits) - (1 - labels) * log_sigmoid(-logits)


def squared_error(predictions: ArrayLike, targets: ArrayLike | None = None) -> np.ndarray:
    """``(predictions - targets)**2``, element by element; without targets ``predictions**2``.

    Raises ValueError where the shapes differ, since broadcasting here is mostly a mistake.

    >>> import numpy as np
    >>> squared_error(np.array([1.0, 2.0]), np.array([3.0, 2.0]))
    array([4., 0.])
    """
    return fnp.square(_errors("squared_error", predictions, targets))


def l2_loss(predictions: ArrayLike, targets: ArrayLike | None = None) -> np.ndarray:
    """Half the `squared_error`, whose derivative is the error itself.

    >>> import numpy as np
    >>> l2_loss(np.array([1.0, 2.0]), np.array([3.0, 2.0]))
    array([2., 0.])
    """
    return 0.5 * fnp.square(_errors("l2_loss", predictions, targets))


def huber_loss(predictions: ArrayLike, targets: ArrayLike | None = None, *, delta: ArrayLike = 1.0) -> np.ndarray:
    """Half the squared error up to ``delta``, linear with the same slope beyond (Huber, 1964).

    Raises ValueError where the shapes differ.

    >>> import numpy as np
    >>> huber_loss(np.array([0.5, 3.0]))
    array([0.125, 2.5  ])
    """
    size = fnp.abs(_errors("huber_loss", predictions, targets))
    quadratic = fnp.minimum(size, delta)
    return 0.5 * fnp.square(quadratic) + delta * (size - quadratic)


def cosine_similarity(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    epsilon: float = 0.0,
    axis: Axis = -1,
    where: ArrayLike | None = None,
) -> np.ndarray:
    """The cosine of the angle between the vectors along ``axis``.

    Squared lengths count as at least ``epsilon``; with the default 0 a zero vector gives NaN. Elements where the mask
    ``where`` is False take no part.

    >>> import numpy as np
    >>> cosine_similarity(np.array([3.0, 4.0]), np.array([4.0, 3.0])).round(6).item()
    0.96
    """
    predictions, targets = inexact(predictions), inexact(targets)
    if where is not None:
        predictions, targets = fnp.where(where, predictions, 0), fnp.where(where, targets, 0)

    def unit(x: np.ndarray) -> np.ndarray:
        return x / fnp.sqrt(fnp.maximum(fnp.sum(fnp.square(x), axis=axis, keepdims=True), epsilon))

    return fnp.sum(unit(predictions) * unit(targets), axis=axis)


def kl_divergence(
    log_predictions: ArrayLike, targets: ArrayLike, axis: Axis = -1, where: ArrayLike | None = None
) -> np.ndarray:
    """``sum(targets * (log(targets) - log_predictions))`` along ``axis``, where a target of 0 adds nothing.

    ``log_predictions`` are log-probabilities, ``targets`` probabilities. Elements where the mask ``where`` is False
    take no part.

    >>> import numpy as np
    >>> kl_divergence(np.log([0.5, 0.5]), np.array([1.0, 0.0])).round(6).item()
    0.693147
    """
    log_predictions, targets = inexact(log_predictions), inexact(targets)
    absent = targets == 0
    terms = targets * (fnp.where(absent, 0, fnp.log(fnp.where(absent, 1, targets))) - log_predictions)
    return fnp.sum(terms if where is None else fnp.where(where, terms, 0), axis=axis)


def _errors(function: str, predictions: ArrayLike, targets: ArrayLike | None) -> np.ndarray:
    predictions = inexact(predictions)
    if targets is None:
        return predictions
    targets = fnp.asarray(targets)
    if predictions.shape != targets.shape:
        raise ValueError(
            f"{function}: predictions and targets must have one shape, got {predictions.shape} and {targets.shape}; "
            f"broadcast or reshape one of them first"
        )
    return predictions - targets
