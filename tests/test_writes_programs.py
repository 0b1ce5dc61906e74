"""Random programs of views, writes, in-place operators and reads: as NumPy runs them on a copy of the argument.

A program is drawn statement by statement with its values at hand, so each statement fits the shapes that there are and
values stay of moderate size. The same statements run on ndarrays and on traced arrays.
"""

import operator
import os

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import fgrad
import fgrad.numpy as fnp
from fgrad.testing import check_close, check_grads

EXAMPLES = {} if os.environ.get("HYPOTHESIS_PROFILE") else {"max_examples": 80}
FAR = 0.02  # distance of what is compared from thresholds, well beyond the steps of finite differences

VIEWS = {
    "T": lambda a: a.T,
    "swapaxes": lambda a: np.swapaxes(a, 0, -1),
    "moveaxis": lambda a: np.moveaxis(a, 0, -1),
    "reshape": lambda a: a.reshape(-1, 2),
    "rows": lambda a: a.reshape((a.shape[0], -1)),
    "ravel": np.ravel,
    "flip": lambda a: np.flip(a, 0),
    "rot90": np.rot90,
    "none": lambda a: a[None],
    "expand": lambda a: np.expand_dims(a, -1),
    "squeeze": np.squeeze,
    "split": lambda a: np.array_split(a, 2)[1],
    "diagonal": np.diagonal,
    "all": lambda a: a[:],
    "step": lambda a: a[::2],
    "back": lambda a: a[::-1],
    "tail": lambda a: a[1:],
    "head": lambda a: a[:-1],
    "last": lambda a: a[..., -1],
    "number": lambda a: a[0, ...],
    "column": lambda a: a[:, 1:2],
    "cross": lambda a: a[..., ::-2],
    "row": lambda a: a[-1],
    "alias": lambda a: a,
    "same dtype": lambda a: a.astype(a.dtype, copy=False),
    "conj": lambda a: a.conj(),
    "no axes": lambda a: a[:1].reshape(()),
}
VALUES = {
    "copy": lambda a: a.copy(),
    "sin": lambda a: ordered(np.sin(a)),
    "scaled": lambda a: ordered(0.5 * a - 0.25),
    "fancy": lambda a: a[np.array([0, -1])],
    "masked": lambda a: a[np.arange(a.shape[0]) % 2 == 0],
    "flatten": lambda a: a.flatten(),
    "sum": lambda a: np.sum(a, axis=0),
    "product": lambda a: ordered(a * a / 2),
    "reshaped copy": lambda a: a.reshape(-1, copy=True),
}
INDICES = {
    "0": np.s_[0],
    "-1": np.s_[-1],
    "1:": np.s_[1:],
    "::-1": np.s_[::-1],
    "::2": np.s_[::2],
    "...": np.s_[...],
    "..., 0": np.s_[..., 0],
    ":, 1": np.s_[:, 1],
    "1, ::-1": np.s_[1, ::-1],
    "None, 0": np.s_[None, 0],
    "array": np.array([1, 0]),
    "twice": np.array([0, 1, 0]),
    "grid": (np.array([[0], [1]]), np.array([0, 1])),
    ":, array": np.s_[:, np.array([0, 1])],
    "mask": "mask",
    "unknown": "unknown",
    "..., unknown": "..., unknown",
    "unknown, 0": "unknown, 0",
    "k": "k",
    "k, 1:": "k, 1:",
    "array, k": "array, k",
}
OPERATORS = {"=": None, "+=": operator.iadd, "-=": operator.isub, "*=": operator.imul, "**=": operator.ipow}
CHANGES = {
    "fill": lambda a, b: a.fill(b),
    "copyto": lambda a, b: np.copyto(a, b),
    "out": lambda a, b: np.add(a, b, out=a),
    "out where": lambda a, b: np.add(a, b, out=a, where=a > 0.3),
    "selected": lambda a, b: a.__setitem__(a > 0.3, np.sin(a[a > 0.3]) + 0.25),
    "clip": lambda a, b: a.clip(-0.5, 0.5, a),
    "cumsum": lambda a, b: a.cumsum(0, None, a),
    "mean of rows": lambda a, b: np.mean(a, 0, out=a[0]),
    "flat": lambda a, b: setattr(a, "flat", b),
    "put": lambda a, b: np.put(a, [0, -1], b),
    "fill_diagonal": lambda a, b: np.fill_diagonal(a, b),
    "at": lambda a, b: np.add.at(a, np.array([0, 1, 0]), b),
    "multiply.at": lambda a, b: np.multiply.at(a, np.array([0, 1, 0]), b),
    "swap": lambda a, b: exchange(a),
    "rows": lambda a, b: center(a),
    "shift": lambda a, b: a.__setitem__(np.s_[1:], a[:-1]),
    "accumulate": lambda a, b: accumulate(a),
}


def ordered(a):
    """In C order, as arrays are that traced programs make."""
    return np.ascontiguousarray(a) if type(a) is np.ndarray else a


def exchange(a):
    a[0], a[-1] = a[-1], a[0]


def center(a):
    for row in a:
        row -= row.mean()


def accumulate(a):
    for i in range(1, len(a)):
        a[i] += 0.5 * a[i - 1]


class Program:
    """Statements on numbered arrays: the first is a copy of the argument x, the second made inside, the third x."""

    def __init__(self, statements):
        self.statements = statements

    def __repr__(self):
        return "Program([\n  " + ",\n  ".join(map(repr, self.statements)) + "\n])"

    def __call__(self, x, k):
        made = np.zeros((2, 2)) if type(x) is np.ndarray else fnp.zeros((2, 2))
        arrays = [x.copy(), made, x]
        total = 0.0
        for statement in self.statements:
            total = total + step(statement, arrays, k)
        for a in arrays:
            total = total + weighed(a)
        return total


def weighed(a):
    return np.sum(np.cos(np.arange(float(a.size))).reshape(a.shape) * a)


def step(statement, arrays, k):
    kind, i, name, *rest = statement
    a = arrays[i]
    if kind == "view":
        arrays.append(VIEWS[name](a))
    elif kind == "value":
        arrays.append(VALUES[name](a))
    elif kind == "read":
        return weighed(a) * 0.5
    elif kind == "change":
        CHANGES[name](a, value(rest[0], arrays))
    elif kind == "operator":
        arrays[i] = OPERATORS[name](a, value(rest[0], arrays))
        assert arrays[i] is a or not a.ndim
    else:
        index, sign, given = rest
        index = place(index, a, k)
        v = value(given, arrays)
        a[index] = v if sign == "=" else OPERATORS[sign](a[index], v)
    return 0.0


def place(name, a, k):
    index = INDICES[name]
    if type(index) is not str:
        return index
    if index == "k":
        return k
    if index == "k, 1:":
        return k, slice(1, None)
    if index == "array, k":
        return np.array([0, 1]), k
    if index == "..., unknown":
        return ..., a[tuple([0] * (a.ndim - 1))] > 0.3
    if index == "unknown, 0":
        return (a > 0.3)[:, 0], 0
    if index == "mask":
        return np.arange(a.shape[0]) % 2 == 1
    return a > 0.3


def value(given, arrays):
    """A number, an element of an array, or an array cut to a shape."""
    kind, what = given
    if kind == "number":
        return what
    if kind == "element":
        return arrays[what].reshape(-1)[0] * 0.5
    return arrays[what]


def fits(statement, arrays, k):
    """Whether a statement runs on these arrays, and well away from thresholds and large numbers."""
    a = arrays[statement[1]]
    if a.ndim == 0 and statement[0] not in ("read", "operator"):
        return False
    if statement[0] in ("write", "change", "operator") and not a.flags.writeable:
        return False
    near = a.size == 0 or np.min(np.abs(a - 0.3)) < FAR
    if statement[2] in ("out where", "selected") and near:
        return False
    if statement[2] == "clip" and np.min(np.abs(np.abs(a) - 0.5), initial=1.0) < FAR:
        return False
    if (
        statement[0] == "write"
        and "unknown" in statement[3]
        and (near or statement[5][0] == "array" or statement[4] == "**=")
    ):
        return False
    if statement[0] == "write" and "k" in statement[3].split(", ") and statement[4] == "**=":
        return False  # it is run with other k as well, where it might be a root of something negative
    if "fill" in statement and statement[3][0] == "array":
        return False
    try:
        step(statement, arrays, k)
    except (ValueError, IndexError, TypeError, AssertionError):
        return False
    return all(b.size <= 24 and np.all(np.abs(b) < 4) for b in arrays)


@st.composite
def programs(draw):
    shape = draw(st.sampled_from([(4,), (2, 2), (3, 2), (2, 3), (2, 2, 2), (1, 4)]))
    x = draw(st.integers(0, 2**16).map(lambda seed: np.random.default_rng(seed).uniform(-1, 1, shape).round(3)))
    k = draw(st.integers(-1, 1))
    statements = []

    def replayed(statements):
        arrays = [x.copy(), np.zeros((2, 2)), x.copy()]
        arrays[2].flags.writeable = False
        for s in statements:
            step(s, arrays, k)
        return arrays

    arrays = replayed([])
    for _ in range(draw(st.integers(1, 9))):
        number = len(arrays)
        kind = draw(st.sampled_from(["view", "view", "value", "read", "change", "operator", "write", "write", "write"]))
        i = draw(st.integers(0, number - 1))
        given = draw(
            st.one_of(
                st.sampled_from([("number", 0.75), ("number", -0.5), ("number", 2)]),
                st.integers(0, number - 1).map(lambda j: ("element", j)),
                st.integers(0, number - 1).map(lambda j: ("array", j)),
            )
        )
        table = sorted({"view": VIEWS, "value": VALUES, "change": CHANGES, "write": INDICES}.get(kind, [""]))
        first = draw(st.integers(0, len(table) - 1))
        sign = draw(st.sampled_from(["+=", "-=", "*="] if kind == "operator" else sorted(OPERATORS)))
        for name in table[first:] + table[:first]:  # the drawn one, or the next one that fits
            statement = {
                "read": (kind, i, ""),
                "operator": (kind, i, sign, given),
                "write": (kind, i, "", name, sign, given),
                "change": (kind, i, name, given),
            }.get(kind, (kind, i, name))
            with np.errstate(all="ignore"):
                if fits(statement, replayed(statements), k):
                    statements.append(statement)
                    arrays = replayed(statements)
                    break
    return Program(statements), x, np.int64(k)


@settings(**EXAMPLES)
@given(programs())
@np.errstate(all="ignore")  # of repeated indices a value that does not stay may be out of range
def test_values(example):
    f, x, k = example
    want = f(x, k)
    before = x.copy()
    check_close(fgrad.value_and_grad(f)(x, k)[0], want)
    check_close(fgrad.jit(f)(x, k), want)
    check_close(fgrad.jit(fgrad.value_and_grad(f))(x, k)[0], want)
    check_close(fgrad.jvp(lambda x: f(x, k), (x,), (x,))[0], want)
    check_close(fgrad.linearize(lambda x: f(x, k), x)[0], want)
    lanes = np.array([1.0, 1.001])
    both = fgrad.vmap(f, in_axes=(0, None))(np.multiply.outer(lanes, x), k)
    check_close(both, np.array([f(c * x, k) for c in lanes]))
    both = fgrad.vmap(f, in_axes=(None, 0))(x, np.array([k, 0]))
    check_close(both, np.array([want, f(x, np.int64(0))]))
    assert np.array_equal(x, before)


@settings(**EXAMPLES)
@given(programs())
def test_derivatives(example):
    f, x, k = example
    g = lambda x: f(x, k)  # noqa: E731
    check_grads(g, (x,), order=2, atol=1e-5, rtol=1e-5)
    gradient = fgrad.grad(g)(x)
    check_close(fgrad.jit(fgrad.grad(g))(x), gradient, rtol=1e-10, atol=1e-10)
    lanes = np.array([1.0, 1.001])
    rows = fgrad.vmap(fgrad.grad(g))(np.multiply.outer(lanes, x))
    check_close(rows, np.stack([fgrad.grad(g)(c * x) for c in lanes]), rtol=1e-10, atol=1e-10)
    pull = fgrad.vjp(g, x)[1]
    check_close(pull(1.0)[0], gradient, rtol=1e-10, atol=1e-10)
    check_close(pull(2.0)[0], 2 * gradient, rtol=1e-10, atol=1e-10)
