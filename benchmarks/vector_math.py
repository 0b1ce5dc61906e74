"""Vector mathematics: nanoseconds an element beside NumPy and SciPy, and errors in ULP against mpmath.

    python benchmarks/vector_math.py [--points 2000] [names ...]

Each function is measured as a kernel of its own, on 8,192 elements that stay in the first caches. Errors are the
largest at that many points each: evenly spread over the function's usual range, with evenly spread exponents, and close
to places where formulas change or results end.
"""

from __future__ import annotations

import argparse
import ctypes
import time
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import mpmath
import numpy as np
from timing import machine

from fgrad.compile.engine import compile_text, load_object, native_vector_bytes
from fgrad.compile.nests import Builder
from fgrad.compile.render_llvm import module
from fgrad.compile.scalars import MATH, dtype_of
from fgrad.compile.vecmath import FUNCTIONS

mp = mpmath.mp.clone()
mp.prec = 200

Range = tuple[float, float]
_THUNK = ctypes.CFUNCTYPE(ctypes.c_int32, *[ctypes.c_void_p] * 3, ctypes.c_int64, ctypes.c_int64)


def _logaddexp(x: Any, y: Any) -> Any:
    return max(x, y) + mp.log1p(mp.exp(-abs(x - y)))


def _acosh(x: Any) -> Any:
    return mp.acosh(x) if x >= 1 else mp.nan


def _real(f: Callable[..., Any], low: float, high: float) -> Callable[..., Any]:
    """f where it is real: mpmath continues into the complex plane."""
    return lambda x: f(x) if low <= x <= high else mp.nan


# The exact functions, of numbers of mpmath.
EXACT: dict[str, Callable[..., Any]] = {
    **{name: getattr(mp, name) for name in ("exp", "expm1", "sin", "cos", "tan", "sinh", "cosh", "tanh", "atan")},
    **{name: getattr(mp, name) for name in ("asinh", "erf", "erfc", "atan2", "hypot")},
    "exp2": lambda x: mp.power(2, x),
    "log": _real(mp.log, 0, np.inf),
    "log2": _real(lambda x: mp.log(x, 2), 0, np.inf),
    "log10": _real(mp.log10, 0, np.inf),
    "log1p": _real(mp.log1p, -1, np.inf),
    "logistic": lambda x: 1 / (1 + mp.exp(-x)),
    "asin": _real(mp.asin, -1, 1),
    "acos": _real(mp.acos, -1, 1),
    "atanh": _real(mp.atanh, -1, 1),
    "acosh": _acosh,
    "cbrt": lambda x: mp.sign(x) * mp.cbrt(abs(x)),
    "pow": lambda x, y: mp.power(x, y) if x >= 0 or y == mp.floor(y) else mp.nan,
    "logaddexp": _logaddexp,
}

# Where a function is mostly used; of each operand.
USUAL: dict[str, tuple[Range, ...]] = {
    **dict.fromkeys(["log", "log2", "log10"], ((0.01, 10.0),)),
    **dict.fromkeys(["asin", "acos", "atanh"], ((-1.0, 1.0),)),
    **dict.fromkeys(["sin", "cos", "tan"], ((-10.0, 10.0),)),
    "log1p": ((-0.9, 4.0),),
    "acosh": ((1.0, 5.0),),
    "pow": ((0.01, 10.0), (-4.0, 4.0)),
    "logaddexp": ((0.0, 20.0), (0.0, 20.0)),
}

# Where the formulas change, or results overflow or round to a constant: float32, float64.
EDGES: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "exp": ((-103.97, -87.34, 0.3466, 88.72), (-745.13, -708.4, 0.3466, 709.78)),
    "exp2": ((-149.5, -126.0, 0.5, 127.99), (-1074.5, -1022.0, 0.5, 1023.99)),
    "expm1": ((-17.3, -0.3466, 0.3466, 88.72), (-37.4, -0.3466, 0.3466, 709.78)),
    "logistic": ((-103.97, -87.34, -0.3466, 17.0), (-745.13, -708.4, -0.3466, 37.0)),
    "sinh": ((1.0, 89.41), (1.0, 710.47)),
    "cosh": ((0.3466, 89.41), (0.3466, 710.47)),
    "tanh": ((0.1733, 0.3466, 9.01), (0.1733, 0.3466, 19.06)),
    "log": ((2**-0.5, 1.0, 2**0.5), (2**-0.5, 1.0, 2**0.5)),
    "log1p": ((2**-0.5 - 1, 2**0.5 - 1, -0.9999), (2**-0.5 - 1, 2**0.5 - 1, -0.9999999)),
    "sin": ((np.pi / 4, np.pi, 355.0, 1e4, 1e13), (np.pi / 4, np.pi, 355.0, 1e9, 6e13)),
    "asin": ((0.5, -0.5, 1.0, -1.0), (0.5, -0.5, 1.0, -1.0)),
    "atan": ((1.0, 2.0**24), (1.0, 2.0**53)),
    "atanh": ((0.1716, 1.0), (0.1716, 1.0)),
    "asinh": ((0.35, 2.0**30), (0.35, 2.0**59)),
    "acosh": ((1.0, 1.06, 2.0**30), (1.0, 1.06, 2.0**59)),
    "erf": ((0.127, 0.381, 1.0, 3.91), (0.1914, 0.5742, 1.0, 5.92)),
    "erfc": ((0.75, -0.75, 9.19, 10.05), (0.75, -0.75, 26.54, 27.2)),
}
for _like, _names in {"log": ("log2", "log10"), "sin": ("cos", "tan"), "asin": ("acos",)}.items():
    EDGES.update(dict.fromkeys(_names, EDGES[_like]))


@cache
def _thunk(name: str, type: str) -> Callable[..., int]:
    k = Builder()
    inputs = [k.buffer(type, "in") for _ in range(MATH[name])]
    output = k.buffer(type, "out")
    with k.vector(k.begin, k.end) as i:
        k.store(output, i, k.op(name, *(k.load(x, i) for x in inputs)))
    kernel = k.finish()
    image = compile_text(module([kernel], native_vector_bytes()))
    return _THUNK(load_object(image, [kernel.name])[kernel.name])


def ready(name: str, type: str, *arrays: np.ndarray) -> tuple[Callable[[], int], np.ndarray]:
    """A function as a compiled kernel, as a call without arguments on these arrays, and the array of its results."""
    operands = [np.ascontiguousarray(a, dtype_of(type)) for a in arrays]
    out = np.empty_like(operands[0])
    pointers = (ctypes.c_void_p * (len(operands) + 1))(*[a.ctypes.data for a in (*operands, out)])
    call = partial(_thunk(name, type), None, ctypes.addressof(pointers), None, 0, out.size)
    call.keep = pointers, operands  # type: ignore[attr-defined]
    return call, out


def native(name: str, type: str, *arrays: np.ndarray) -> np.ndarray:
    """What the compiled function gives for arrays of one shape."""
    call, out = ready(name, type, *arrays)
    assert call() == 0
    return out


def ulp_error(got: float, exact: Any, type: str) -> float:
    """|got − exact| in units of the last place of the exact result; inf for a wrong inf, NaN or sign of zero."""
    bits, lowest, highest = (24, -126, 127) if type == "f32" else (53, -1022, 1023)
    if mp.isnan(exact) or np.isnan(got):
        return 0.0 if mp.isnan(exact) and np.isnan(got) else np.inf
    overflows = abs(exact) >= mp.ldexp(1, highest + 1) - mp.ldexp(1, highest - bits)
    if overflows or np.isinf(got):
        return 0.0 if overflows and np.isinf(got) and (got > 0) == (exact > 0) else np.inf
    exponent = mp.frexp(exact)[1] - 1 if exact else lowest
    return float(abs(mp.mpf(float(got)) - exact) / mp.ldexp(1, max(exponent, lowest) - bits + 1))


def errors(name: str, type: str, *points: np.ndarray) -> np.ndarray:
    """Errors of a function, in ULP, at points given as arrays."""
    got = native(name, type, *points)
    exact = EXACT[name]
    rows = zip(got, *points, strict=True)
    return np.array([ulp_error(g, exact(*(mp.mpf(float(x)) for x in xs)), type) for g, *xs in rows])


def usual(name: str) -> tuple[Range, ...]:
    """Where a function is mostly used; of each operand."""
    return USUAL.get(name, ((-4.0, 4.0),) * MATH[name])


def points(name: str, type: str, count: int, seed: int = 0) -> dict[str, tuple[np.ndarray, ...]]:
    """Where to measure errors, in groups: each a tuple of arrays, one for every operand."""
    rng = np.random.default_rng(seed)
    dtype = dtype_of(type)
    single = type == "f32"
    groups = {"usual": tuple(rng.uniform(low, high, count).astype(dtype) for low, high in usual(name))}
    reach = 40 if name == "pow" else 126 if single else 1022
    if name in ("sin", "cos", "tan"):
        reach = 46  # beyond, they are zero and one
    signs = rng.choice([-1.0, 1.0], (MATH[name], count))
    exponents = rng.uniform(-reach, reach, (MATH[name], count))
    if name in ("exp", "exp2", "expm1", "sinh", "cosh", "logistic", "erfc"):
        exponents = np.minimum(exponents, 12)
    with np.errstate(over="ignore", under="ignore"):
        groups["exponents"] = tuple((s * np.exp2(e)).astype(dtype) for s, e in zip(signs, exponents, strict=True))
    for edge in EDGES.get(name, ((), ()))[0 if single else 1]:
        near = np.array(edge, dtype)
        spread = rng.integers(-1000, 1000, count // 4) * np.spacing(near) + rng.uniform(-1, 1, count // 4) * 2e-3 * edge
        spread[: count // 8] = np.arange(-(count // 16), count // 8 - count // 16) * np.spacing(near)
        groups[f"near {edge:.6g}"] = ((near + spread).astype(dtype),)
    return groups


def nanoseconds(call: Callable[[], object], elements: int) -> float:
    """The best time of an element."""
    best = np.inf
    for _ in range(60):
        start = time.perf_counter()
        for _ in range(5):
            call()
        best = min(best, (time.perf_counter() - start) / 5)
    return best / elements * 1e9


def peer(name: str) -> tuple[str, Callable[..., Any]]:
    """The same function of NumPy, or of SciPy."""
    renamed = {"pow": "power", "atan2": "arctan2"}.get(name, name.replace("a", "arc", 1) if name in _INVERSE else name)
    if hasattr(np, renamed):
        return "NumPy", getattr(np, renamed)
    from scipy import special  # loaded only by this program

    return "SciPy", getattr(special, {"logistic": "expit"}.get(name, name))


_INVERSE = ("asin", "acos", "atan", "asinh", "acosh", "atanh")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", default=list(FUNCTIONS))
    parser.add_argument("--points", type=int, default=2000)
    arguments = parser.parse_args()
    print(f"    {machine()}")
    print("    function         ns      theirs    ratio   largest error in ULP")
    rng = np.random.default_rng(0)
    for name in arguments.names:
        for type in ("f32", "f64"):
            arrays = tuple(rng.uniform(low, high, 8192).astype(dtype_of(type)) for low, high in usual(name))
            library, theirs = peer(name)
            call, out = ready(name, type, *arrays)
            with np.errstate(all="ignore"):
                ours = nanoseconds(call, out.size)
                other = nanoseconds(partial(theirs, *arrays, out=np.empty_like(out)), out.size)
            groups = {k: errors(name, type, *xs).max() for k, xs in points(name, type, arguments.points).items()}
            worst = max(groups, key=lambda k: groups[k])
            print(
                f"    {name:10s} {type}  {ours:6.2f}  {other:6.2f} {library}  {other / ours:5.1f}   "
                f"{groups[worst]:.2f} ({worst})"
            )


if __name__ == "__main__":
    main()
