"""Distributions over vectors and matrices that need linear algebra."""

import operator
from typing import Any

import fgrad.numpy as fnp
from fgrad import lax
from fgrad.random.checks import Shape, as_shape, check_key, float_dtype, full_shape, inexact
from fgrad.random.continuous import normal


def multivariate_normal(
    key: Any,
    mean: Any,
    cov: Any,
    shape: Shape | None = None,
    dtype: Any = None,
    method: str = "cholesky",
) -> Any:
    """Draw from the normal distribution of a mean vector and a covariance matrix.

    `mean` has shape (..., n), `cov` (..., n, n); the leading axes broadcast to `shape`, by default to each other, and
    the result has shape (*shape, n). `dtype` is by default that of mean and cov promoted. `method` says how cov is
    factored: "cholesky", or "eigh" or "svd" for a singular one. Raises ValueError for shapes that do not fit and for
    another method.

    >>> import numpy as np
    >>> from fgrad import random
    >>> random.multivariate_normal(random.key(0), np.zeros(2), np.eye(2), (5,)).shape
    (5, 2)
    """
    check_key("multivariate_normal", key)
    if method not in ("cholesky", "eigh", "svd"):
        raise ValueError(f'multivariate_normal: method must be "cholesky", "eigh" or "svd", got {method!r}')
    mean, cov = inexact(mean), inexact(cov)
    if mean.ndim < 1 or cov.ndim < 2 or tuple(cov.shape[-2:]) != (mean.shape[-1], mean.shape[-1]):
        raise ValueError(
            "multivariate_normal: mean must have shape (..., n) and cov (..., n, n), "
            f"got {tuple(mean.shape)} and {tuple(cov.shape)}"
        )
    dtype = float_dtype("multivariate_normal", fnp.result_type(mean, cov) if dtype is None else dtype)
    shape = full_shape("multivariate_normal", shape, tuple(mean.shape[:-1]), tuple(cov.shape[:-2]))
    if method == "cholesky":
        factor = fnp.linalg.cholesky(cov)
    elif method == "eigh":
        values, vectors = fnp.linalg.eigh(cov)
        factor = vectors * fnp.sqrt(fnp.maximum(values, 0))[..., None, :]
    else:
        vectors, values, _ = fnp.linalg.svd(cov)
        factor = vectors * fnp.sqrt(values)[..., None, :]
    z = normal(key, (*shape, mean.shape[-1]), dtype)
    offset = fnp.matmul(lax.convert_element_type(factor, dtype), z[..., None])[..., 0]
    return lax.convert_element_type(mean, dtype) + offset


def orthogonal(key: Any, n: int, shape: Shape = (), dtype: Any = float, m: int | None = None) -> Any:
    """Draw n x m matrices with orthonormal rows or columns (whichever are fewer), uniform in the Haar measure.

    `m` is by default `n`: orthogonal matrices, unitary ones for complex64 or complex128. The result has shape
    (*shape, n, m). Source: F. Mezzadri, "How to generate random matrices from the classical compact groups", Notices
    of the AMS 54 (2007).

    >>> import numpy as np
    >>> from fgrad import random
    >>> q = random.orthogonal(random.key(0), 3)
    >>> np.allclose(q @ q.T, np.eye(3))
    True
    """
    check_key("orthogonal", key)
    shape, n = as_shape("orthogonal", shape), operator.index(n)
    m = n if m is None else operator.index(m)
    q, r = fnp.linalg.qr(normal(key, (*shape, max(n, m), min(n, m)), dtype))
    diagonal = fnp.diagonal(r, axis1=-2, axis2=-1)
    # The phase of R's diagonal is LAPACK's choice; moved into Q, the factorisation is unique and Q is Haar.
    q = q * fnp.expand_dims(diagonal / fnp.abs(diagonal), -2)
    return fnp.swapaxes(q, -1, -2) if n < m else q
