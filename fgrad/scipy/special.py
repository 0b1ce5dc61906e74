"""`scipy.special` on arrays and traced arrays: SciPy's values, dtypes and broadcasting, with derivatives.

On plain arrays SciPy's own functions run. Most of them compute in float64 unless every operand is float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from .. import numpy as fnp
from ..core.errors import StaticArgumentError, message
from ..core.primitive import registry as p
from ..core.surface import surface
from ..core.trace import Tracer
from ..nn import normalize
from ..numpy.promote import cast, float_dtype, promote, sample

Array = Any


@cache
def _scipy(name: str) -> Callable[..., Any]:
    import scipy.special

    return getattr(scipy.special, name)


def _loop(name: str, *xs: Any) -> np.dtype:
    """The dtype in which SciPy's ufunc of that name computes on these operands."""
    samples = [s if isinstance(s, np.dtype) else np.dtype(bool) if s is True else type(s) for s in map(sample, xs)]
    return _scipy(name).resolve_dtypes((*samples, None))[0]


def _define(
    name: str, meaning: str, example: str, *, primitive: str = "", names: tuple[str, ...] = (), note: str = ""
) -> Callable[..., Array]:
    """SciPy's ufunc of a name as a surface function over a primitive; `names`: of the operands, by default x."""
    rule = getattr(p, primitive or name)
    names = names or ("x",)

    def expand(*xs: Any) -> Any:
        return rule(*promote(*xs, dtype=_loop(name, *xs)))

    operands = " and ".join(names) if len(names) < 3 else ", ".join(names[:-1]) + f" and {names[-1]}"
    lines = [f"{meaning}, elementwise: scipy.special.{name}.", ""]
    lines.append(f"{operands} {'is' if len(names) == 1 else 'are'} real{'' if len(names) == 1 else ' and broadcast'};")
    lines[-1] += " the result has SciPy's dtype. Raises `DtypeError` for complex numbers that are traced."
    lines += [note] if note else []
    lines += ["", ">>> from fgrad.scipy import special", f">>> {example.split(' -> ')[0]}", example.split(" -> ")[1]]
    expand.__name__, expand.__module__ = name, __name__
    expand.__doc__ = "\n    ".join(lines) + "\n    "
    return surface(run=lambda *xs: _scipy(name)(*xs), arity=len(names))(expand)


expit = _define("expit", "1 / (1 + exp(-x))", "special.expit(0.0) -> np.float64(0.5)", primitive="logistic")
logit = _define("logit", "log(x / (1 - x)), the inverse of expit", "special.logit(0.5) -> np.float64(0.0)")
erf = _define("erf", "The error function", "special.erf(0.0) -> np.float64(0.0)")
erfc = _define("erfc", "1 - erf(x), accurate for large x", "special.erfc(0.0) -> np.float64(1.0)")
erfcx = _define("erfcx", "exp(x**2) erfc(x)", "special.erfcx(0.0) -> np.float64(1.0)")
erfinv = _define("erfinv", "The inverse of erf", "special.erfinv(0.0) -> np.float64(0.0)", primitive="erf_inv")
erfcinv = _define("erfcinv", "The inverse of erfc", "special.erfcinv(0.0) -> np.float64(inf)", primitive="erfc_inv")
gamma = _define("gamma", "The gamma function", "special.gamma(4.0) -> np.float64(6.0)")
gammaln = _define("gammaln", "log |gamma(x)|", "special.gammaln(1.0) -> np.float64(0.0)", primitive="lgamma")
loggamma = _define("loggamma", "log gamma(x), NaN below 0", "special.loggamma(1.0) -> np.float64(0.0)")
gammasgn = _define("gammasgn", "The sign of gamma(x)", "special.gammasgn(-0.5) -> np.float64(-1.0)")
digamma = _define("digamma", "The derivative of gammaln", "special.digamma(1.0).round(6) -> np.float64(-0.577216)")
psi = _define(
    "psi", "The derivative of gammaln", "special.psi(1.0).round(6) -> np.float64(-0.577216)", primitive="digamma"
)
beta = _define(
    "beta", "gamma(a) gamma(b) / gamma(a + b)", "special.beta(1.0, 2.0) -> np.float64(0.5)", names=("a", "b")
)
betaln = _define("betaln", "log |beta(a, b)|", "special.betaln(1.0, 1.0) -> np.float64(0.0)", names=("a", "b"))
gammainc = _define(
    "gammainc",
    "The regularised lower incomplete gamma function P(a, x)",
    "special.gammainc(1.0, 0.0) -> np.float64(0.0)",
    names=("a", "x"),
    note="Differentiable by both: by a once, with the integrals of M. Figurnov, S. Mohamed, A. Mnih (2018).",
)
gammaincc = _define(
    "gammaincc",
    "1 - gammainc(a, x), accurate for large x",
    "special.gammaincc(1.0, 0.0) -> np.float64(1.0)",
    names=("a", "x"),
    note="Differentiable as `gammainc` is.",
)
betainc = _define(
    "betainc",
    "The regularised incomplete beta function I_x(a, b)",
    "special.betainc(1.0, 1.0, 0.25) -> np.float64(0.25)",
    names=("a", "b", "x"),
    note="Differentiable by x; derivatives by a and b raise `MissingRuleError`.",
)
xlogy = _define("xlogy", "x log(y), 0 where x is 0", "special.xlogy(0.0, 0.0) -> np.float64(0.0)", names=("x", "y"))
xlog1py = _define(
    "xlog1py", "x log(1 + y), 0 where x is 0", "special.xlog1py(0.0, -1.0) -> np.float64(0.0)", names=("x", "y")
)
entr = _define("entr", "-x log(x), 0 at 0 and -inf below", "special.entr(1.0) -> np.float64(-0.0)")
rel_entr = _define("rel_entr", "x log(x / y)", "special.rel_entr(1.0, 1.0) -> np.float64(0.0)", names=("x", "y"))
kl_div = _define("kl_div", "x log(x / y) - x + y", "special.kl_div(1.0, 1.0) -> np.float64(0.0)", names=("x", "y"))
ndtr = _define("ndtr", "The normal distribution function", "special.ndtr(0.0) -> np.float64(0.5)")
ndtri = _define("ndtri", "The quantile of the normal distribution", "special.ndtri(0.5) -> np.float64(0.0)")
log_ndtr = _define("log_ndtr", "log(ndtr(x)), accurate for all x", "special.log_ndtr(40.0) -> np.float64(-0.0)")
i0 = _define("i0", "The modified Bessel function I_0", "special.i0(0.0) -> np.float64(1.0)", primitive="bessel_i0")
i0e = _define("i0e", "exp(-|x|) I_0(x)", "special.i0e(0.0) -> np.float64(1.0)", primitive="bessel_i0e")
i1 = _define("i1", "The modified Bessel function I_1", "special.i1(0.0) -> np.float64(0.0)", primitive="bessel_i1")
i1e = _define("i1e", "exp(-|x|) I_1(x)", "special.i1e(0.0) -> np.float64(0.0)", primitive="bessel_i1e")
expm1 = _define("expm1", "exp(x) - 1, accurate near 0", "special.expm1(1e-20) -> np.float64(1e-20)")
log1p = _define("log1p", "log(1 + x), accurate near 0", "special.log1p(1e-20) -> np.float64(1e-20)")
exp2 = _define("exp2", "2 to the power x", "special.exp2(3.0) -> np.float64(8.0)")
cbrt = _define("cbrt", "The real cube root", "special.cbrt(-8.0) -> np.float64(-2.0)")


@surface(run=lambda x: _scipy("log_expit")(x), arity=1)
def log_expit(x: Array) -> Array:
    """log(expit(x)), accurate for all x, elementwise: scipy.special.log_expit.

    x is real; the result has SciPy's dtype.

    >>> from fgrad.scipy import special
    >>> special.log_expit(-1000.0)
    np.float64(-1000.0)
    """
    x = cast(x, _loop("log_expit", x))
    return p.neg(p.logaddexp(p.neg(x), p.mul0(x, 0)))


def sinc(x: Array) -> Array:
    """sin(pi x) / (pi x), 1 at 0, elementwise: scipy.special.sinc, which is NumPy's.

    >>> from fgrad.scipy import special
    >>> special.sinc(0.0)
    np.float64(1.0)
    """
    return fnp.sinc(x)


def _traced(*xs: Any) -> bool:
    return any(type(x) is Tracer for x in xs)


@surface(run=lambda x, n: _scipy("polygamma")(n, x), arity=1)
def _polygamma(x: Any, n: int) -> Any:
    if n == 0:
        return cast(p.digamma(cast(x, _loop("psi", x))), np.float64)
    return p.polygamma(cast(x, np.float64), n=n)


def polygamma(n: int, x: Array) -> Array:
    """The n-th derivative of `digamma` at x, as float64: scipy.special.polygamma.

    x is real. Where it is traced n must be one integer, not negative: else `StaticArgumentError`.

    >>> from fgrad.scipy import special
    >>> special.polygamma(1, 1.0).round(6)
    np.float64(1.644934)
    """
    if not _traced(n, x):
        return _scipy("polygamma")(n, x)[()]
    if type(n) is Tracer or np.ndim(n) or n != int(n) or n < 0:
        what = "polygamma: the order of a traced function must be one integer of at least 0"
        raise StaticArgumentError(message(what, got=repr(n), do="pass a Python int, or call it for each order"))
    return _polygamma(x, int(n))


@surface(run=lambda x: _scipy("zeta")(x)[()], arity=1)
def _riemann(x: Any) -> Any:
    return p.riemann_zeta(cast(x, _loop("ndtr", x)))


@surface(run=lambda x, q: _scipy("zeta")(x, q), arity=2)
def _hurwitz(x: Any, q: Any) -> Any:
    return p.zeta(*promote(x, q, dtype=_loop("rel_entr", x, q)))


def zeta(x: Array, q: Array | None = None) -> Array:
    """The sum of (k + q)**-x over k = 0, 1, ..., elementwise; Riemann's function without q: scipy.special.zeta.

    x and q are real and broadcast; the result has SciPy's dtype. Differentiable by q; the derivative by x raises
    `MissingRuleError`.

    >>> from fgrad.scipy import special
    >>> special.zeta(2.0).round(6)
    np.float64(1.644934)
    """
    return _riemann(x) if q is None else _hurwitz(x, q)


def multigammaln(a: Array, d: int) -> Array:
    """The logarithm of the multivariate gamma function of dimension d, elementwise: scipy.special.multigammaln.

    a > (d - 1) / 2 is real; concrete values beyond raise ValueError. The result is float64.

    >>> from fgrad.scipy import special
    >>> special.multigammaln(2.0, 1)
    np.float64(0.0)
    """
    if not _traced(a, d):
        return _scipy("multigammaln")(a, d)
    a = a.astype(np.float64)
    total = gammaln(a)
    for j in range(1, d):
        total = total + gammaln(a - 0.5 * j)
    return total + 0.25 * d * (d - 1) * math.log(math.pi)


def factorial(n: Array, exact: bool = False) -> Array:
    """gamma(n + 1), 0 for negative n, elementwise, as float64: scipy.special.factorial.

    `exact` computes with Python integers, of values that are not traced: else `StaticArgumentError`.

    >>> from fgrad.scipy import special
    >>> special.factorial(4.0)
    np.float64(24.0)
    """
    if not _traced(n):
        return _scipy("factorial")(n, exact=exact)
    if exact:
        raise StaticArgumentError(
            message("factorial: exact=True needs values that are known", got=n, do="leave it out")
        )
    return fnp.where(n < 0, 0.0, gamma(fnp.where(n < 0, 0, n) + 1)).astype(np.float64)


Axis = int | tuple[int, ...] | None


def logsumexp(
    a: Array, axis: Axis = None, b: Array | None = None, keepdims: bool = False, return_sign: bool = False
) -> Array | tuple[Array, Array]:
    """log(sum(b exp(a))) along `axis`, without overflow: scipy.special.logsumexp.

    `b` are real factors, 1 by default. A negative sum gives NaN, unless `return_sign` asks for the pair of the
    logarithm of its absolute value and its sign.

    >>> import numpy as np
    >>> from fgrad.scipy import special
    >>> special.logsumexp(np.array([1000.0, 1000.0])).round(6)
    np.float64(1000.693147)
    """
    return normalize.logsumexp(a, axis, b=b, keepdims=keepdims, return_sign=return_sign)


def softmax(x: Array, axis: Axis = None) -> Array:
    """exp(x) divided by its sum along `axis`, by default over all elements: scipy.special.softmax.

    >>> import numpy as np
    >>> from fgrad.scipy import special
    >>> special.softmax(np.array([1000.0, 1000.0]))
    array([0.5, 0.5])
    """
    return normalize.softmax(_floating(x), axis)


def log_softmax(x: Array, axis: Axis = None) -> Array:
    """The logarithm of `softmax`, finite where the quotient would underflow: scipy.special.log_softmax.

    >>> import numpy as np
    >>> from fgrad.scipy import special
    >>> special.log_softmax(np.array([0.0, 1000.0]))
    array([-1000.,     0.])
    """
    return normalize.log_softmax(_floating(x), axis)


def _floating(x: Any) -> Any:
    x = fnp.asarray(x)
    return x.astype(float_dtype(x))
