"""Special functions of statistics, with their partial derivatives.

In a derivative, y is the result. Formulas: NIST Digital Library of Mathematical Functions (DLMF), chapters 5 (gamma and
beta), 7 (error functions), 8 (incomplete gamma and beta), 10 (Bessel) and 25 (zeta).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np

from ..core.errors import MissingRuleError, message
from .family import Elementwise, full, p, type_of
from .reduce import Cumulative
from .sampling import gamma_derivative
from .special import special

_REAL = "f"
_ROOT_PI = math.sqrt(math.pi)


def _row(name: str, d: Sequence[Any] | None, *, scipy: str = "", domain: str | Sequence[str] = "any") -> Elementwise:
    return Elementwise(name, special(scipy or name), takes=_REAL, d=d, operands=len(d or [None]), domain=domain)


def _unknown(name: str, operand: str, do: str) -> Callable[..., NoReturn]:
    """The partial derivative that nobody implemented: not zero, hence an error."""

    def refuse(y: Any, *xs: Any, **params: Any) -> NoReturn:
        raise MissingRuleError(message(f"{name} has no derivative by {operand}", got=type_of(y), do=do))

    return refuse


# ------------------------------------------------------------------------------------------------ gamma and beta

gamma = _row("gamma", [lambda y, x: p.mul(y, p.digamma(x))], domain="positive")
loggamma = _row("loggamma", [lambda y, x: p.digamma(x)], domain="positive")
gammasgn = _row("gammasgn", [None], domain="positive")
beta = _row(
    "beta",
    [lambda y, a, b: p.mul(y, _digamma_difference(a, b)), lambda y, a, b: p.mul(y, _digamma_difference(b, a))],
    domain="positive",
)
betaln = _row(
    "betaln", [lambda y, a, b: _digamma_difference(a, b), lambda y, a, b: _digamma_difference(b, a)], domain="positive"
)


def _digamma_difference(a: Any, b: Any) -> Any:
    return p.sub(p.digamma(a), p.digamma(p.add(a, b)))


def _gamma_density(a: Any, x: Any) -> Any:
    """x^(a-1) e^(-x) / Gamma(a), DLMF 8.8.13."""
    return p.exp(p.sub(p.sub(p.xlogy(p.sub(a, 1), x), x), p.lgamma(a)))


def _gamma_slope(a: Any, x: Any) -> Any:
    """-dP(a, x)/da: the density times the derivative of the quantile by a."""
    return p.mul0(_gamma_density(a, x), p.random_gamma_derivative(a, x, log_space=False))


def _beta_density(a: Any, b: Any, x: Any) -> Any:
    """x^(a-1) (1-x)^(b-1) / B(a, b), DLMF 8.17.1."""
    return p.exp(p.sub(p.add(p.xlogy(p.sub(a, 1), x), p.xlog1py(p.sub(b, 1), p.neg(x))), p.betaln(a, b)))


random_gamma_derivative = Elementwise(
    "random_gamma_derivative",
    lambda a, x, log_space: gamma_derivative(*_alike(a, x), log_space=log_space)[()],
    takes=_REAL,
    d=[
        _unknown("the derivative of a gamma draw", which, "differentiate once")
        for which in ("its parameter", "the draw")
    ],
    domain="positive",
    params=lambda draw, dtype: {"log_space": draw.bool()},
)


def _alike(*xs: Any) -> list[np.ndarray]:
    """Operands that a renderer left smaller than their result."""
    return [np.array(x) for x in np.broadcast_arrays(*xs)]


gammainc = _row(
    "gammainc", [lambda y, a, x: p.neg(_gamma_slope(a, x)), lambda y, a, x: _gamma_density(a, x)], domain="positive"
)
gammaincc = _row(
    "gammaincc", [lambda y, a, x: _gamma_slope(a, x), lambda y, a, x: p.neg(_gamma_density(a, x))], domain="positive"
)
betainc = _row(
    "betainc",
    [
        _unknown("betainc", "its parameter a", "differentiate by x, or use fgrad.lax.stop_gradient(a)"),
        _unknown("betainc", "its parameter b", "differentiate by x, or use fgrad.lax.stop_gradient(b)"),
        lambda y, a, b, x: _beta_density(a, b, x),
    ],
    domain=["positive", "positive", "probability"],
)
zeta = _row(
    "zeta",
    [
        _unknown("zeta", "its exponent x", "differentiate by q, or use fgrad.lax.stop_gradient(x)"),
        lambda y, x, q: p.neg(p.mul(x, p.zeta(p.add(x, 1), q))),  # DLMF 25.11.17
    ],
    domain=["above one", "positive"],
)

riemann_zeta = _row(
    "riemann_zeta",
    [_unknown("zeta", "its exponent x", "use fgrad.lax.stop_gradient(x)")],
    scipy="zeta",
    domain="above one",
)

# ------------------------------------------------------------------------------------------ entropies and logarithms

xlogy = _row(
    "xlogy", [lambda y, x, w: p.log(w), lambda y, x, w: p.mul0(x, p.reciprocal(w))], domain=["any", "positive"]
)
xlog1py = _row(
    "xlog1py",
    [lambda y, x, w: p.log1p(w), lambda y, x, w: p.mul0(x, p.reciprocal(p.add(w, 1)))],
    domain=["any", "positive"],
)
entr = _row("entr", [lambda y, x: p.neg(p.add(p.log(x), 1))], domain="positive")
rel_entr = _row(
    "rel_entr", [lambda y, x, w: p.add(p.log(p.div(x, w)), 1), lambda y, x, w: p.neg(p.div(x, w))], domain="positive"
)
kl_div = _row("kl_div", [lambda y, x, w: p.log(p.div(x, w)), lambda y, x, w: p.sub(1, p.div(x, w))], domain="positive")
logit = _row("logit", [lambda y, x: p.reciprocal(p.mul(x, p.sub(1, x)))], domain="probability")

# -------------------------------------------------------------------------------------------- the normal distribution

erfcx = _row("erfcx", [lambda y, x: p.sub(p.mul(p.mul(x, y), 2), 2 / _ROOT_PI)])
erfc_inv = _row(
    "erfc_inv", [lambda y, x: p.mul(p.exp(p.square(y)), -_ROOT_PI / 2)], scipy="erfcinv", domain="probability"
)
ndtr = _row("ndtr", [lambda y, x: p.mul(p.exp(p.mul(p.square(x), -0.5)), 1 / math.sqrt(2 * math.pi))])
ndtri = _row(
    "ndtri", [lambda y, x: p.mul(p.exp(p.mul(p.square(y), 0.5)), math.sqrt(2 * math.pi))], domain="probability"
)
log_ndtr = _row(  # density / probability without their common factor, which underflows
    "log_ndtr", [lambda y, x: p.div(math.sqrt(2 / math.pi), p.erfcx(p.mul(x, -math.sqrt(0.5))))]
)

# -------------------------------------------------------------------------------------------------- Bessel functions

bessel_i0 = _row("bessel_i0", [lambda y, x: p.bessel_i1(x)], scipy="i0")
bessel_i1 = _row("bessel_i1", [lambda y, x: _bessel_slope(p.bessel_i0(x), y, x)], scipy="i1")


def _bessel_slope(i0: Any, i1: Any, x: Any) -> Any:
    """I_0 - I_1 / x, DLMF 10.29.4; 1/2 at 0."""
    here = p.eq(x, 0)
    half, one = full(0.5, type_of(x)), full(1, type_of(x))
    return p.select(here, half, p.sub(i0, p.div(i1, p.select(here, one, x))))


# --------------------------------------------------------------------------------------------- running log-sum-exp


class CumLogSumExp(Cumulative):
    """Running logarithm of the sum of exponentials."""

    def tangent(
        self, tangents: Sequence[Any], outs: Sequence[Any], x: Any, *, axis: int, reverse: bool
    ) -> Sequence[Any]:
        # y_k = log(e^y_(k-1) + e^x_k): the tangent obeys t_k = w_k t_(k-1) + (1 - w_k) u_k, w_k = e^(y_(k-1) - y_k),
        # a linear recurrence unrolled by doubling (Hillis and Steele 1986): no weight underflows that matters.
        y = outs[0]
        safe = p.select(p.is_finite(y), y, p.mul0(y, 0))
        weight = p.exp(p.sub(_before(y, axis, 1, reverse, -math.inf), safe))
        total = p.mul0(p.exp(p.sub(x, safe)), tangents[0])
        shift = 1
        while shift < x.shape[axis]:
            total = p.add(total, p.mul0(weight, _before(total, axis, shift, reverse, 0)))
            weight = p.mul0(weight, _before(weight, axis, shift, reverse, 0))
            shift *= 2
        return (total,)


def _before(x: Any, axis: int, by: int, reverse: bool, fill: float) -> Any:
    """x moved along an axis by that many places, away from where the running sum begins."""
    low = tuple((-by if reverse else by) if a == axis else 0 for a in range(x.ndim))
    return p.pad(x, x.dtype.type(fill), low=low, high=tuple(-v for v in low), interior=(0,) * x.ndim)


cumlogsumexp = CumLogSumExp("cumlogsumexp", np.logaddexp, "f")
