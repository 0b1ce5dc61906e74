"""Discrete distributions, permutations and choices."""

import math
import operator
from typing import Any

import numpy as np

import fgrad.numpy as fnp
from fgrad import lax
from fgrad.core.primitive import registry
from fgrad.random.checks import Shape, as_shape, check_key, full_shape, inexact, integer_dtype
from fgrad.random.continuous import between, gumbel, unit
from fgrad.random.keys import random_bits, split


def _poisson_draw(key: Any, lam: Any, dtype: np.dtype) -> Any:
    return registry.random_poisson(key, lam, dtype=dtype)


def randint(key: Any, shape: Shape, minval: Any, maxval: Any, dtype: Any = int) -> Any:
    """Draw integers uniform in [minval, maxval).

    `minval` and `maxval` are integers or integer arrays that broadcast to `shape`; they are clipped to the range of
    `dtype` (int64 by default). Where maxval <= minval the result is minval. Taken modulo the span from twice the
    bits of `dtype` (64 at least), so the bias is at most span**2 / 2**64 for 32 bits, span**2 / 2**128 for 64.
    Raises TypeError for limits that are not integers and ValueError for a dtype that is not one of integers.

    >>> from fgrad import random
    >>> x = random.randint(random.key(0), (100,), 1, 7)
    >>> int(x.min()), int(x.max())
    (1, 6)
    """
    check_key("randint", key)
    dtype = integer_dtype("randint", dtype)
    drawn = dtype if dtype.itemsize >= 4 else np.dtype(np.int32)
    limits = fnp.asarray(minval), fnp.asarray(maxval)
    for limit in limits:
        if np.dtype(limit.dtype).kind not in "iu":
            raise TypeError(f"randint: minval and maxval must be integers of at most 64 bits, got {limit.dtype}")
    shape = full_shape("randint", as_shape("randint", shape), *(x.shape for x in limits))

    # One axis at least: NumPy warns when the arithmetic of 0-d integers wraps around, as is intended below.
    axes = shape or (1,)
    minval, maxval = (fnp.reshape(x, (1,) * (len(axes) - x.ndim) + tuple(x.shape)) for x in limits)
    top = min(np.iinfo(dtype).max, np.iinfo(maxval.dtype).max)
    beyond = maxval > maxval.dtype.type(top)
    minval, maxval = _clip_to(minval, dtype, drawn), _clip_to(maxval, dtype, drawn)

    word = np.dtype(f"uint{8 * drawn.itemsize}")
    span = lax.convert_element_type(maxval, word) - lax.convert_element_type(minval, word)
    span = fnp.where(maxval > minval, span + lax.convert_element_type(beyond, word), word.type(1))
    every = span == 0  # all 2**nbits values: the span wrapped around
    span = fnp.where(every, word.type(1), span)

    keys = split(key)
    high, low = (random_bits(keys[i], axes, word) for i in (0, 1))
    # (high 2**nbits + low) modulo span, without a wider type.
    weight = word.type(2 ** (4 * word.itemsize)) % span
    weight = weight * weight % span
    offset = (high % span * weight + low % span) % span
    offset = fnp.where(every, low, offset)
    result = lax.convert_element_type(lax.convert_element_type(minval, word) + offset, drawn)
    return fnp.reshape(lax.convert_element_type(result, dtype), shape)


def _clip_to(x: Any, dtype: np.dtype, result: np.dtype) -> Any:
    have, want = np.iinfo(x.dtype), np.iinfo(dtype)
    low, high = max(have.min, want.min), min(have.max, want.max)
    return lax.convert_element_type(fnp.clip(x, x.dtype.type(low), x.dtype.type(high)), result)


def bernoulli(key: Any, p: Any = 0.5, shape: Shape | None = None, mode: str = "low") -> Any:
    """Draw booleans that are True with probability `p`.

    `p` broadcasts to `shape`, by default its own; its float dtype is that of the uniform numbers compared with it.
    `mode` "high" spends twice the bits, for p below 1e-7 in float32. Raises ValueError for another mode.

    >>> from fgrad import random
    >>> random.bernoulli(random.key(0), 0.3, (3,)).dtype
    dtype('bool')
    """
    check_key("bernoulli", key)
    if mode not in ("low", "high"):
        raise ValueError(f'bernoulli: mode must be "low" or "high", got {mode!r}')
    p = inexact(p)
    shape, dtype = full_shape("bernoulli", shape, p.shape), np.dtype(p.dtype)
    if mode == "low":
        return unit(key, shape, dtype) < p
    u = unit(key, (2, *shape), dtype)
    return u[1] * dtype.type(2.0 ** -np.finfo(dtype).nmant) < p - u[0]


def rademacher(key: Any, shape: Shape = (), dtype: Any = int) -> Any:
    """Draw -1 or 1, with probability 1/2 each, in `dtype` (int64 by default).

    >>> from fgrad import random
    >>> sorted(set(random.rademacher(random.key(0), (100,)).tolist()))
    [-1, 1]
    """
    check_key("rademacher", key)
    dtype = np.dtype(int if dtype is None else dtype)
    heads = unit(key, as_shape("rademacher", shape), np.dtype(float)) < 0.5
    return fnp.where(heads, dtype.type(1), dtype.type(-1))


def categorical(
    key: Any,
    logits: Any,
    axis: int = -1,
    shape: Shape | None = None,
    replace: bool = True,
    mode: str | None = None,
) -> Any:
    """Draw indices i with probability softmax(logits, axis)[i], as int64.

    The result has the shape of `logits` without `axis`, or `shape`, to which that one broadcasts. With
    ``replace=False`` the leading axes of `shape` hold different indices of one distribution. `mode` is that of
    `gumbel`. Drawn as the argmax of logits plus Gumbel noise; without replacement, the largest of them in order.
    Raises ValueError for shapes that do not fit and for more draws without replacement than categories.

    >>> import numpy as np
    >>> from fgrad import random
    >>> random.categorical(random.key(0), np.array([0.0, -np.inf, 0.0]), shape=(4,)).shape
    (4,)
    """
    check_key("categorical", key)
    logits = inexact(logits)
    if not -logits.ndim <= axis < logits.ndim:
        raise ValueError(f"categorical: axis {axis} is out of bounds for logits of shape {tuple(logits.shape)}")
    axis %= logits.ndim
    batch = tuple(logits.shape[:axis]) + tuple(logits.shape[axis + 1 :])
    shape = full_shape("categorical", shape, batch)
    prefix, rest = shape[: len(shape) - len(batch)], shape[len(shape) - len(batch) :]
    count = logits.shape[axis]
    if replace:
        noise = gumbel(key, (*prefix, *rest[:axis], count, *rest[axis:]), logits.dtype, mode)
        return fnp.argmax(noise + logits, axis=len(prefix) + axis)
    draws = math.prod(prefix)
    if draws > count or rest != batch:
        raise ValueError(
            f"categorical: without replacement, shape must be (*leading, {', '.join(map(str, batch))}) with a "
            f"product of the leading axes of at most {count}, the number of categories; got {shape}"
        )
    scores = fnp.moveaxis(gumbel(key, logits.shape, logits.dtype, mode) + logits, axis, -1)
    indices = fnp.argsort(-scores, axis=-1, stable=True)[..., :draws]
    return fnp.reshape(fnp.moveaxis(indices, -1, 0), shape)


def permutation(key: Any, x: Any, axis: int = 0, independent: bool = False) -> Any:
    """Return `x` with its entries along `axis` in random order, or a permutation of range(x) for an integer x.

    With ``independent=True`` each vector along `axis` is shuffled by itself. Raises TypeError for a scalar that is
    not an integer.

    >>> from fgrad import random
    >>> sorted(random.permutation(random.key(0), 4).tolist())
    [0, 1, 2, 3]
    """
    check_key("permutation", key)
    if fnp.ndim(x) == 0:
        try:
            x = fnp.arange(operator.index(x))
        except TypeError as error:
            raise TypeError(f"permutation: x must be an integer or have an axis to shuffle, got {x!r}") from error
    x = fnp.asarray(x)
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(f"permutation: axis {axis} is out of bounds for an array of shape {tuple(x.shape)}")
    if independent or x.ndim == 1:
        return _shuffle(key, x, axis)
    return fnp.take(x, _shuffle(key, fnp.arange(x.shape[axis]), 0), axis=axis)


def _shuffle(key: Any, x: Any, axis: int) -> Any:
    # Sort by random 32-bit words. Words may collide, so sort again by fresh ones until the strings of words of n
    # elements differ with probability 1 - 1/n at least: 3 log(n) / log(2**32) rounds.
    rounds = math.ceil(3 * math.log(max(1, x.size)) / math.log(2**32 - 1))
    for _ in range(rounds):
        keys = split(key)
        key = keys[0]
        order = fnp.argsort(random_bits(keys[1], tuple(x.shape), np.dtype(np.uint32)), axis=axis, stable=True)
        x = fnp.take_along_axis(x, order, axis=axis)
    return x


def choice(
    key: Any,
    a: Any,
    shape: Shape = (),
    replace: bool = True,
    p: Any = None,
    axis: int = 0,
    mode: str | None = None,
) -> Any:
    """Draw entries of `a` along `axis`, or integers of range(a) for an integer a.

    `p` holds the probability of each entry, all equal by default; it is divided by its sum if `replace`. Along
    `axis` the result has the axes `shape` instead. `mode` is that of `gumbel`, used with `p` and without
    replacement. Raises ValueError if `a` is empty, `p` does not fit it, or more entries are drawn without
    replacement than there are.

    >>> import numpy as np
    >>> from fgrad import random
    >>> random.choice(random.key(0), np.array([1.5, 2.5]), (3,), p=np.array([0.0, 1.0]))
    array([2.5, 2.5, 2.5])
    """
    check_key("choice", key)
    shape = as_shape("choice", shape)
    if fnp.ndim(a) == 0:
        count, axis = operator.index(a), 0
        a = None
    else:
        a = fnp.asarray(a)
        if not -a.ndim <= axis < a.ndim:
            raise ValueError(f"choice: axis {axis} is out of bounds for an array of shape {tuple(a.shape)}")
        axis %= a.ndim
        count = a.shape[axis]
    draws = math.prod(shape)
    if count <= 0 and draws:
        raise ValueError(f"choice: cannot draw {draws} entries from none")
    if not replace and draws > count:
        raise ValueError(f"choice: cannot draw {draws} entries from {count} with replace=False")

    if p is not None:
        p = inexact(p)
        if tuple(p.shape) != (count,):
            raise ValueError(f"choice: p must have shape ({count},), one probability an entry; got {tuple(p.shape)}")
    if draws == 0:
        indices = fnp.zeros(shape, int)
    elif p is None:
        indices = randint(key, shape, 0, count) if replace else permutation(key, count)[:draws]
    elif replace:
        total = fnp.cumsum(p)
        indices = fnp.searchsorted(total, total[-1] * (1 - unit(key, shape, np.dtype(p.dtype))))
    else:
        possible = p > 0
        log_p = fnp.where(possible, fnp.log(fnp.where(possible, p, 1)), -np.inf)
        indices = fnp.argsort(-(gumbel(key, (count,), p.dtype, mode) + log_p), stable=True)[:draws]
    indices = fnp.reshape(lax.convert_element_type(indices, np.int64), shape)
    return indices if a is None else fnp.take(a, indices, axis=axis)


def poisson(key: Any, lam: Any, shape: Shape | None = None, dtype: Any = int) -> Any:
    """Draw from the Poisson distribution of mean `lam`, as integers of `dtype` (int64 by default).

    `lam` >= 0 broadcasts to `shape`, by default its own; where it is NaN or negative the result is -1. The numbers
    are not those of JAX, whose sampler works in float32; the distribution is the same.

    >>> import numpy as np
    >>> from fgrad import random
    >>> random.poisson(random.key(0), np.array([0.0, 1000.0])).shape
    (2,)
    """
    check_key("poisson", key)
    dtype, shape = integer_dtype("poisson", dtype), full_shape("poisson", shape, fnp.shape(lam))
    lam = lax.convert_element_type(lam, np.float64)
    return _poisson_draw(key, fnp.broadcast_to(lam, shape), dtype)


def geometric(key: Any, p: Any, shape: Shape | None = None, dtype: Any = int) -> Any:
    """Draw the number of trials up to the first success, probability `p` each: (1 - p)**(k - 1) p for k >= 1.

    0 < p <= 1 broadcasts to `shape`, by default its own. The result is of the integer `dtype` (int64 by default).

    >>> import numpy as np
    >>> from fgrad import random
    >>> bool(np.all(random.geometric(random.key(0), 0.25, (100,)) >= 1))
    True
    """
    check_key("geometric", key)
    p = inexact(p)
    dtype, shape, kind = integer_dtype("geometric", dtype), full_shape("geometric", shape, p.shape), np.dtype(p.dtype)
    u = between(key, shape, kind, np.finfo(kind).tiny, 1.0)
    certain = p >= 1
    failures = fnp.floor(fnp.log(u) / fnp.log1p(-fnp.where(certain, kind.type(0.5), p)))
    return lax.convert_element_type(fnp.where(certain, 0, failures) + 1, dtype)
