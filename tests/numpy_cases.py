"""The table of calls with which fgrad.numpy is held against NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fgrad import numpy as fnp

RNG = np.random.default_rng(7)
V = np.array([0.3, -1.2, 2.5, 0.8])
W = np.array([1.1, 0.5, -0.7, 2.2])
M = RNG.permutation(np.linspace(-1.93, 2.07, 12)).reshape(3, 4)
T = RNG.normal(size=(2, 3, 4))
S = RNG.normal(size=(3, 3))
Z = np.array([1.0 - 2.0j, -0.5 + 0.3j, 2.0 + 1.0j])
F = M.astype(np.float32)
INT = np.array([[3, -1, 4], [1, 5, -9]], np.int32)
U = np.array([[3, 0], [200, 5]], np.uint8)
B = np.array([[True, False, True], [False, False, True]])
N = np.array([[1.0, np.nan, 3.0], [np.nan, np.nan, 2.0], [0.5, 4.0, -1.0]])
X = np.array([np.inf, -np.inf, np.nan, 0.0, -0.0, 1.5])
E = np.zeros((0, 3))
K = np.float64(0.7)
POS = np.array([0.2, 0.9, 1.7, 2.6])


class Case:
    """A call of the function `name` (or of `call(function, *operands)`) on operands, all of them traced."""

    def __init__(
        self,
        name: str,
        *xs: Any,
        call: Callable[..., Any] | None = None,
        d: bool = True,
        lanes: bool = True,
        **named: Any,
    ):
        self.name, self.xs, self.named = name, xs, named
        self.call = call or (lambda f, *xs: f(*xs, **named))
        floats = all(np.asarray(x).dtype.kind in "fc" for x in xs)
        finite = floats and all(np.all(np.isfinite(x)) for x in xs)
        self.d = d and finite and all(np.asarray(x).dtype.itemsize >= 8 for x in xs)
        self.lanes = lanes

    def __repr__(self) -> str:
        shown = "_".join(f"{np.asarray(x).dtype.str[1:]}{list(np.shape(x))}" for x in self.xs)
        options = ",".join(f"{k}={v}" for k, v in self.named.items())
        return f"{self.name}-{shown}-{options}".replace(" ", "")

    def ours(self, *xs: Any) -> Any:
        return self.call(getattr(fnp, self.name), *xs)

    def numpy(self, *xs: Any) -> Any:
        return self.call(getattr(np, self.name), *xs)


def reductions() -> list[Case]:
    out = []
    for name in ("sum", "prod", "mean", "max", "min", "any", "all", "var", "std", "count_nonzero", "ptp"):
        inexact = name in ("sum", "prod", "mean", "max", "min", "var", "std", "ptp")
        for axis in (None, 0, -1, (0, 2)):
            out.append(Case(name, T, axis=axis, d=inexact))
        out += [
            Case(name, M, axis=1, keepdims=True, d=inexact),
            Case(name, F, axis=0),
            Case(name, INT, axis=0),
            Case(name, K, d=inexact and name != "std"),
        ]
        if name not in ("any", "all", "count_nonzero"):
            out.append(Case(name, X, d=False))
        if name != "ptp":
            out += [Case(name, B, axis=1)] if name not in ("max", "min") else []
            out += [Case(name, M.astype(np.float16))] if name not in ("any", "all") else []
    out += [Case(n, E, axis=0, d=False) for n in ("sum", "prod", "any", "all")]
    out += [
        Case("sum", U, axis=0),
        Case("sum", F, dtype=np.float64),
        Case("prod", U),
        Case("sum", Z),
        Case("mean", Z),
        Case("var", Z),
        Case("prod", Z),
    ]
    out += [Case("prod", np.array([2.0, 0.0, 3.0])), Case("prod", np.array([0.0, 0.0, 3.0]))]
    out += [
        Case("var", M, axis=0, ddof=1),
        Case("std", M, axis=1, ddof=1, keepdims=True),
        Case("var", M, correction=1),
        Case("amax", M),
        Case("amin", M, axis=1),
    ]
    mask = M > 0
    out += [Case(n, M, axis=1, where=mask) for n in ("sum", "prod", "mean", "any", "all")]
    out += [Case(n, M, where=mask, axis=None) for n in ("var", "std")]
    out += [
        Case("max", M, axis=0, where=mask, initial=-9.0),
        Case("min", M, axis=0, initial=0.25),
        Case("min", INT, axis=0, initial=2.7),
        Case("max", INT, axis=1, initial=4.7, where=INT > 1),
        Case("sum", M, initial=2.0),
        Case("prod", M, axis=0, initial=2.0),
    ]
    out += [Case("max", E, axis=0, initial=-1.0, d=False), Case("sum", F, initial=1.0)]
    out += [Case(n, x, axis=a) for n in ("argmax", "argmin") for x, a in ((M, None), (M, 0), (INT, 1), (N, 0), (T, -1))]
    out += [Case("argmax", M, axis=1, keepdims=True), Case("argmin", M, axis=None, keepdims=True)]
    out += [
        Case(n, x, axis=a)
        for n in ("cumsum", "cumprod")
        for x, a in ((M, None), (M, 0), (INT, 1), (T, -1), (B, 1), (np.array([2.0, 0.0, 3.0]), 0))
    ]
    out += [
        Case("cumsum", F, dtype=np.float64),
        Case("cumulative_sum", M, axis=1, include_initial=True),
        Case("cumulative_prod", V),
        Case("cumulative_prod", M, axis=0, include_initial=True),
    ]
    out += [
        Case("average", M),
        Case("average", U, np.array([[0.1, 0.2], [0.3, 0.7]], np.float16), call=lambda f, x, w: f(x, 0, w)),
        Case("average", M, axis=1),
        Case("average", M, np.abs(M) + 0.1, call=lambda f, x, w: f(x, axis=0, weights=w)),
    ]
    out += [
        Case("average", M, np.abs(V), call=lambda f, x, w: f(x, 1, w, returned=True)),
        Case("average", INT, d=False),
        Case("average", F, axis=0),
    ]
    for name in ("nansum", "nanprod", "nanmean", "nanmax", "nanmin", "nanvar", "nanstd"):
        rows = N[[0, 2]]
        out += [
            Case(name, x, axis=a) for x, a in ((N, 0), (N, None), (rows, 1), (M, -1), (INT, 0), (N.astype("f4"), 0))
        ]
        out.append(Case(name, N, axis=0, keepdims=True))
    out += [Case(n, x, axis=a) for n in ("nancumsum", "nancumprod") for x, a in ((N, None), (N, 1), (INT, 0))]
    out += [Case(n, N, axis=a) for n in ("nanargmax", "nanargmin") for a in (None, 1)]
    return out


def shapes() -> list[Case]:
    out = [Case("reshape", T, call=lambda f, x, s=s: f(x, s)) for s in ((4, 6), -1, (2, -1), (1, 24, 1))]
    out += [
        Case("reshape", M, call=lambda f, x: f(x, (4, 3), order="F")),
        Case("reshape", INT, call=lambda f, x: f(x, 6)),
        Case("reshape", E, call=lambda f, x: f(x, (3, 0))),
    ]
    out += [Case("ravel", T), Case("ravel", M, order="F"), Case("ravel", K), Case("ravel", E)]
    out += [
        Case("transpose", T),
        Case("transpose", T, axes=(2, 0, 1)),
        Case("transpose", T, axes=(-1, 0, 1)),
        Case("permute_dims", T, axes=(1, 0, 2)),
        Case("matrix_transpose", T),
    ]
    out += [
        Case("swapaxes", T, call=lambda f, x: f(x, 0, -1)),
        Case("moveaxis", T, call=lambda f, x: f(x, (0, 1), (-1, 0))),
        Case("moveaxis", T, call=lambda f, x: f(x, 2, 0)),
    ]
    out += [Case("rollaxis", T, call=lambda f, x, a=a, b=b: f(x, a, b)) for a, b in ((2, 0), (0, 3), (1, 1), (0, 2))]
    out += [
        Case("squeeze", T[:1, :, :1]),
        Case("squeeze", T[:1], axis=0),
        Case("expand_dims", M, axis=(0, -1)),
        Case("expand_dims", K, axis=0),
        Case("expand_dims", M, axis=1),
    ]
    out += [
        Case("broadcast_to", V, call=lambda f, x: f(x, (2, 3, 4))),
        Case("broadcast_to", K, call=lambda f, x: f(x, 3)),
        Case("broadcast_to", M[:, :1], call=lambda f, x: f(x, (3, 2000))),
    ]
    out += [
        Case("broadcast_arrays", M, V),
        Case("atleast_1d", K),
        Case("atleast_2d", V),
        Case("atleast_3d", V),
        Case("atleast_3d", M),
        Case("atleast_2d", K, V),
        Case("atleast_3d", K),
    ]
    out += [Case("flip", T, axis=a) for a in (None, 1, (0, -1))] + [Case("flipud", M), Case("fliplr", M)]
    out += [Case("rot90", T, k=k, axes=(1, 2)) for k in (0, 1, 2, 3)] + [Case("rot90", M, k=-1)]
    out += [
        Case("roll", T, call=lambda f, x, s=s, a=a: f(x, s, a))
        for s, a in ((1, None), (-2, 1), ((1, 2), (0, 2)), (5, (0, 1)), (0, 0))
    ]
    places = (np.array([0, 2, 1]), np.array([3, 0, 1]))
    for order in ("C", "F"):
        out.append(Case("ravel_multi_index", *places, call=lambda f, i, k, o=order: f((i, k), (3, 4), order=o)))
    out.append(
        Case("ravel_multi_index", *places, call=lambda f, i, k: f((i - 2, k + 9), (3, 4), mode=("wrap", "clip")))
    )
    out += [Case("roll", E, call=lambda f, x: f(x, 1, 0))]
    out += [Case("tile", M, reps=r) for r in (2, (2, 1), (2, 1, 3))] + [
        Case("tile", K, reps=3),
        Case("tile", T, reps=2),
    ]
    out += [
        Case("repeat", M, call=lambda f, x, r=r, a=a: f(x, r, axis=a))
        for r, a in ((2, None), (3, 0), ([1, 0, 2], 0), ([2], 1))
    ]
    out += [Case(n, x, k=k) for n in ("tril", "triu") for x in (M, T, V, INT) for k in (-1, 0, 2)]
    out += [Case("meshgrid", V, W[:2]), Case("meshgrid", V, W, V, indexing="ij"), Case("meshgrid", V, W, sparse=True)]
    joins = [
        ("concatenate", {}),
        ("concatenate", {"axis": 1}),
        ("concatenate", {"axis": None}),
        ("stack", {"axis": 1}),
        ("stack", {"axis": -1}),
        ("stack", {}),
    ]
    joins += [("vstack", {}), ("hstack", {}), ("dstack", {}), ("column_stack", {})]
    for name, named in joins:
        out.append(Case(name, M, M[::-1].copy(), call=lambda f, *xs, named=named: f(xs, **named)))
        out.append(
            Case(
                name, M, F, INT[0, 0] * np.ones((3, 4), np.int32), call=lambda f, *xs, named=named: f(list(xs), **named)
            )
        )
    out += [
        Case(n, V, W, call=lambda f, *xs: f(xs))
        for n in ("vstack", "hstack", "dstack", "column_stack", "stack", "concatenate")
    ]
    out += [
        Case("concatenate", T, call=lambda f, x: f(x, axis=1)),
        Case("stack", K, K, call=lambda f, *xs: f(xs)),
        Case("concatenate", F, M, call=lambda f, *xs: f(xs, dtype=np.float32)),
    ]
    out += [
        Case("split", M, call=lambda f, x, i=i, a=a: f(x, i, a))
        for i, a in ((3, 0), (2, 1), ([1, 3], 1), ([0, 2, 9], 0), ([-1], 1))
    ]
    out += [
        Case("array_split", M, call=lambda f, x: f(x, 3, 1)),
        Case("array_split", V, call=lambda f, x: f(x, 3)),
        Case("hsplit", M, call=lambda f, x: f(x, 2)),
        Case("hsplit", V, call=lambda f, x: f(x, 2)),
    ]
    out += [
        Case("vsplit", M, call=lambda f, x: f(x, 3)),
        Case("dsplit", T, call=lambda f, x: f(x, 2)),
        Case("unstack", M, axis=1),
    ]
    out += [
        Case("append", M, V, call=lambda f, x, y: f(x, y)),
        Case("append", M, V[None], call=lambda f, x, y: f(x, y, axis=0)),
    ]
    out += [
        Case("delete", M, call=lambda f, x, i=i, a=a: f(x, i, a))
        for i, a in ((1, 0), ([0, -1], 1), (slice(0, 2), 1), (2, None), (np.array([True, False, True]), 0))
    ]
    out += [
        Case("insert", M, call=lambda f, x, i=i, v=v, a=a: f(x, i, v, axis=a))
        for i, v, a in (
            (1, 5.0, 0),
            ([0, 2], 1.0, 1),
            (1, 2.0, None),
            (-1, [1.0, 2.0, 3.0, 4.0], 0),
            ([1, 1], [[7.0], [8.0]], 0),
        )
    ]
    out += [
        Case("insert", M, V, call=lambda f, x, v: f(x, 3, v, axis=0)),
        Case("insert", V, W, call=lambda f, x, v: f(x, [0, 1, 3, 4], v)),
    ]
    out += [
        Case("block", S, V[:3, None], V[:3], K, call=lambda f, a, b, c, d: f([[a, b], [c, d]])),
        Case("block", V, W, call=lambda f, a, b: f([a, b])),
    ]
    for mode in ("constant", "edge", "reflect", "symmetric", "wrap", "maximum", "minimum", "mean", "linear_ramp"):
        out += [
            Case("pad", M, call=lambda f, x, mode=mode: f(x, ((1, 2), (0, 5)), mode=mode)),
            Case("pad", V, call=lambda f, x, mode=mode: f(x, 3, mode)),
        ]
    out += [
        Case("pad", M, call=lambda f, x: f(x, (1, 2), constant_values=3.0)),
        Case("pad", M, call=lambda f, x: f(x, 1, constant_values=((1, 2), (3, 4)))),
        Case("pad", INT, call=lambda f, x: f(x, 1, "mean")),
    ]
    out += [
        Case("pad", M, call=lambda f, x: f(x, 2, "maximum", stat_length=2)),
        Case("pad", M, call=lambda f, x: f(x, (2, 1), "linear_ramp", end_values=(1.0, -2.0))),
        Case("pad", M, call=lambda f, x: f(x, {-1: (1, 2)})),
    ]
    return out


def creation() -> list[Case]:
    out = [Case(n, x) for n in ("zeros_like", "ones_like") for x in (M, INT, K, E)]
    out += [
        Case("full_like", M, call=lambda f, x: f(x, 3)),
        Case("full_like", INT, call=lambda f, x: f(x, 2.7)),
        Case("zeros_like", M, dtype=np.int8, shape=(2,)),
        Case("full_like", M, K, call=lambda f, x, v: f(x, 1.5)),
    ]
    out += [
        Case("copy", T),
        Case("astype", M, call=lambda f, x: f(x, np.float32)),
        Case("astype", INT, call=lambda f, x: f(x, bool)),
    ]
    out += [
        Case(n, V, W, num=k, endpoint=e)
        for n in ("linspace",)
        for k, e in ((5, True), (4, False), (1, True), (0, True))
    ]
    out += [
        Case("linspace", K, call=lambda f, x: f(x, 2, 7)),
        Case("linspace", V, call=lambda f, x: f(0, x, 3, axis=-1)),
        Case("linspace", F, call=lambda f, x: f(x, 1.0, 3)),
        Case("linspace", INT, INT + 3, num=3),
    ]
    out += [
        Case("linspace", K, call=lambda f, x: f(x, 2, 5, retstep=True)),
        Case("logspace", K, call=lambda f, x: f(x, 2.0, 4)),
        Case("geomspace", K, call=lambda f, x: f(x, 2.0, 4)),
        Case("geomspace", -K, call=lambda f, x: f(x, -2.0, 4)),
        Case("geomspace", F**2 + 1, call=lambda f, x: f(x, 9, 3)),
        Case("geomspace", INT**2 + 1, call=lambda f, x: f(x, 900, 3)),
    ]
    out += [Case(n, x, k=k) for n in ("diag", "diagflat") for x in (V, M) for k in (-2, 0, 1)] + [
        Case("diag", M, k=9),
        Case("diag", INT),
        Case("diag", E),
    ]
    out += [
        Case("diagonal", T, offset=o, axis1=a, axis2=b) for o, a, b in ((0, 0, 1), (1, 2, 0), (-1, 1, 2), (5, 0, 1))
    ]
    out += [Case("vander", V), Case("vander", V, N=2), Case("vander", INT[0], increasing=True), Case("vander", V, N=0)]
    out += [Case(n, x) for n in ("isposinf", "isneginf") for x in (X, V)] + [
        Case(n, x) for n in ("isreal", "iscomplex") for x in (Z, V)
    ]
    out += [Case("shape", T), Case("ndim", T), Case("size", T), Case("iscomplexobj", Z), Case("isrealobj", V)]
    return out


def selection() -> list[Case]:
    out = [
        Case("where", M, V, call=lambda f, x, y: f(x > 0, x, y)),
        Case("where", F, call=lambda f, x: f(x > 0, x, 1.0)),
        Case("where", INT, call=lambda f, x: f(x, x, 2.5)),
        Case("where", K, call=lambda f, x: f(x > 0, x, 0)),
    ]
    out += [
        Case("where", B, call=lambda f, x: f(x, 1, 0)),
        Case("select", M, call=lambda f, x: f([x < -0.5, x > 0.5], [x * x, -x], 7.0)),
        Case("select", INT, call=lambda f, x: f([x < 0], [x])),
    ]
    out += [
        Case("choose", V, W, call=lambda f, x, y: f(np.array([1, 0, 0, 1]), [x, y])),
        Case("choose", V, W, call=lambda f, x, y: f(np.array([-1, 0, 5, 2]), [x, y], mode="wrap")),
    ]
    out += [Case("choose", V, W, call=lambda f, x, y: f(np.array([-1, 0, 5, 2]), [x, y], mode="clip"))]
    out += [
        Case("clip", M, call=lambda f, x, a=a, b=b: f(x, a, b)) for a, b in ((-0.5, 0.5), (None, 0.2), (0.1, None))
    ] + [
        Case("clip", M, V, W + 3, call=lambda f, x, a, b: f(x, a, b)),
        Case("clip", F, call=lambda f, x: f(x, 0, 1)),
        Case("clip", INT, call=lambda f, x: f(x, 0, 3)),
    ]
    out += [
        Case("nan_to_num", x)
        for x in (X, N, M, INT, X.astype("f4"), np.array([complex(np.inf, np.nan), complex(0.0, -np.inf)]))
    ] + [Case("nan_to_num", X, nan=2.0, posinf=5.0, neginf=-3.0)]
    out += [
        Case("piecewise", V, call=lambda f, x: f(x, [x < 0, x >= 1], [lambda v: -v, lambda v: v * v, 0.5])),
        Case("piecewise", V, call=lambda f, x: f(x, [x < 0], [1.0])),
    ]
    out += [
        Case(n, x, decimals=k)
        for n in ("round", "around")
        for x, k in ((M * 10, 0), (M * 10, 1), (M * 100, -1), (INT, 0), (Z, 1), (B, 0), (F, 2))
    ]
    out += [
        Case("fix", M * 3),
        Case("fix", X),
        Case("real", Z),
        Case("real", M),
        Case("imag", Z),
        Case("imag", M),
        Case("angle", Z),
        Case("angle", M, d=False),
        Case("angle", Z, deg=True),
    ]
    out += [
        Case("sinc", V),
        Case("sinc", np.array([0.0, 1e-3, 0.1, 3.0])),
        Case("sinc", F),
        Case("sinc", INT),
        Case("i0", V),
        Case("i0", INT),
    ]
    out += [
        Case("unwrap", M * 6),
        Case("unwrap", M * 6, axis=0, discont=4.0),
        Case("unwrap", INT, period=5),
        Case("unwrap", V * 3, period=2.0),
    ]
    out += [
        Case("modf", V),
        Case("modf", X),
        Case("modf", np.array([-2.0, 3.0]), d=False),
        Case("modf", F),
        Case("frexp", X),
        Case("frexp", M),
        Case("frexp", np.array([1.0, 0.5, 2.0**-1060, -3e300, 7.999999]), d=False),
        Case("frexp", F),
    ]
    out += [
        Case("ldexp", V, call=lambda f, x: f(x, np.array([1, -3, 0, 7]))),
        Case("ldexp", np.array([1e-300, 1.0]), call=lambda f, x: f(x, np.array([1100, -1074])), d=False),
        Case("ldexp", F, call=lambda f, x: f(x, 2)),
    ]
    out += [
        Case("divmod", V, W),
        Case("divmod", INT, call=lambda f, x: f(x, 3)),
        Case("isin", INT, call=lambda f, x: f(x, [3, -9])),
        Case("isin", INT, call=lambda f, x: f(x, [3, -9], invert=True)),
    ]
    out += [
        Case("isclose", M, M + 1e-9),
        Case("isclose", X, X, equal_nan=True),
        Case("allclose", M, M + 1e-9, lanes=True),
        Case("array_equal", M, M),
        Case("array_equal", M, V),
        Case("array_equal", X, X, equal_nan=True),
        Case("array_equiv", V, V[None]),
    ]
    out += [Case("apply_along_axis", T, call=lambda f, x, a=a: f(lambda v: v * v[0], a, x)) for a in (0, 1, -1)] + [
        Case("apply_along_axis", M, call=lambda f, x: f(np.sum, 0, x)),
        Case("apply_along_axis", M, call=lambda f, x: f(np.diag, 1, x)),
    ]
    out += [Case("apply_over_axes", T, call=lambda f, x: f(np.sum, x, (0, 2)))]
    return out


def calculus() -> list[Case]:
    grid = np.array([0.0, 0.6, 1.1, 2.0])
    out = [
        Case("diff", M),
        Case("diff", M, n=2, axis=0),
        Case("diff", INT),
        Case("diff", B),
        Case("diff", M, n=0),
        Case("diff", M, prepend=0.0),
        Case("diff", M, prepend=M[:, :1], append=2.0),
        Case("diff", V, n=9),
    ]
    out += [Case("ediff1d", M), Case("ediff1d", V, V[:2], call=lambda f, x, e: f(x, to_end=e, to_begin=[1.0, 2.0]))]
    out += [
        Case("gradient", T),
        Case("gradient", M, axis=0, edge_order=2),
        Case("gradient", M, call=lambda f, x: f(x, 0.5, 2.0)),
        Case("gradient", V, grid),
        Case("gradient", V, grid, edge_order=2),
        Case("gradient", M, call=lambda f, x: f(x, grid, axis=1)),
        Case("gradient", INT),
        Case("gradient", F, axis=0),
    ]
    out += [
        Case("trapezoid", M),
        Case("trapezoid", M, axis=0, dx=0.5),
        Case("trapezoid", M, grid, axis=1),
        Case("trapezoid", INT),
        Case("trapezoid", F),
    ]
    out += [
        Case("interp", np.array([-1.0, 0.3, 1.05, 7.0]), grid, V),
        Case("interp", grid, grid, V, d=False),
        Case("interp", K, grid, V),
        Case("interp", np.array([0.5, 3.0]), grid, V, left=-1.0, right=9.0),
        Case("interp", np.array([0.5, 3.0, -0.2]), grid, V, period=2.5),
        Case("interp", K, grid, Z[[0, 1, 2, 0]]),
    ]
    for name in ("convolve", "correlate"):
        out += [
            Case(name, a, b, mode=m)
            for a, b in ((V, W[:2]), (W[:2], V), (V, W), (V, W[:1]), (INT[0], INT[1][:2]), (Z, V[:2]), (F[0], F[1]))
            for m in ("full", "same", "valid")
        ]
    out += [Case("correlate", V[:3], W, mode="same"), Case("correlate", V, Z), Case("correlate", V[:2], Z, mode="full")]
    out += [
        Case("bincount", np.array([0, 3, 3, 1]), lanes=False),
        Case("bincount", np.array([0, 3, 3, 1]), V, lanes=False, minlength=7),
    ]
    out += [
        Case("cov", M),
        Case("cov", V),
        Case("cov", V, W),
        Case("cov", M, rowvar=False, bias=True),
        Case("cov", M, fweights=np.array([1, 2, 1, 3])),
        Case("cov", M, aweights=np.array([1.0, 0.5, 1.0, 2.0])),
        Case("cov", M + 1j * M[::-1]),
        Case("cov", INT),
        Case("cov", F),
    ]
    out += [Case("histogram", M, call=lambda f, x, b=b: f(x, b), d=False) for b in (3, [-2.0, 0.0, 1.0, 2.07])]
    out += [
        Case("histogram", V, call=lambda f, x, o=o: f(x, 4, **o), d=False)
        for o in ({"range": (-1.0, 1.5)}, {"density": True}, {"weights": W})
    ]
    out += [Case("histogram", np.ones(3), d=False), Case("histogram_bin_edges", V, bins=4, d=False)]
    out += [Case("corrcoef", M, d=False), Case("corrcoef", V, W, d=False), Case("corrcoef", V)]
    out += [
        Case(n, M, call=lambda f, x, a=a, q=q: f(x, q, axis=a))
        for n, q in (("quantile", 0.3), ("percentile", [10, 50.0]))
        for a in (None, 0, (0, 1))
    ]
    out += [
        Case("median", x, axis=a) for x, a in ((M, None), (M, 0), (T, (0, 2)), (INT, 1), (N, 0), (F, 0), (V[:3], None))
    ] + [Case("median", M, axis=1, keepdims=True)]
    methods = [
        "inverted_cdf",
        "averaged_inverted_cdf",
        "closest_observation",
        "interpolated_inverted_cdf",
        "hazen",
        "weibull",
        "linear",
        "median_unbiased",
        "normal_unbiased",
        "lower",
        "higher",
        "midpoint",
        "nearest",
    ]
    out += [Case("quantile", M, call=lambda f, x, m=m: f(x, [0.0, 0.37, 0.5, 1.0], axis=1, method=m)) for m in methods]
    out += [
        Case("nanmedian", N, axis=0),
        Case("nanquantile", N, call=lambda f, x: f(x, [0.2, 0.9], axis=1)),
        Case("nanpercentile", N, call=lambda f, x: f(x, 40)),
    ]
    out += [
        Case("polyval", V, W),
        Case("polyval", V[:3], M),
        Case("polyval", INT[0], INT),
        Case("polyval", V, K),
        Case("polyadd", V, W[:2]),
        Case("polysub", V[:1], W),
        Case("polymul", V, W[:2]),
        Case("polymul", INT[0], INT[1]),
    ]
    out += [
        Case("polyder", V),
        Case("polyder", V, m=2),
        Case("polyint", V),
        Case("polyint", V, m=2, k=[1.0, 2.0]),
        Case("poly", V),
        Case("polyfit", POS, W, call=lambda f, x, y: f(x, y, 2)),
    ]
    out += [Case("polyfit", POS, W, call=lambda f, x, y: f(x, y, 1, w=np.array([1.0, 2.0, 1.0, 0.5])))]
    return out


CASES = [*reductions(), *shapes(), *creation(), *selection(), *calculus()]
CASES = [c for c in CASES if hasattr(np, c.name)]  # NumPy 2.0 lacks a few
