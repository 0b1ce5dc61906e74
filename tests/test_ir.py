"""Programs: their text, the typechecker, the rewrites one by one, keys; and what the source promises about itself."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fgrad
from fgrad import checkpoint, grad, jit, make_jaxpr, vmap
from fgrad.core.check import check
from fgrad.core.errors import ProgramError
from fgrad.core.ir import Eqn, Jaxpr, Literal, Var
from fgrad.core.primitive import registry as p
from fgrad.core.trace import stage
from fgrad.core.types import shaped
from fgrad.passes.interpret import interpret
from fgrad.rewrites.algebra import algebra
from fgrad.rewrites.cse import cse
from fgrad.rewrites.dce import dce
from fgrad.rewrites.pipeline import PIPELINE, simplify

SOURCE = Path(fgrad.__file__).parent
F3 = shaped((3,), np.float64)
F = shaped((), np.float64)
ones = np.ones(3)


# ----------------------------------------------------------------------------------------------------- golden texts


def told(program, expected):
    assert str(program) == inspect.cleandoc(expected)


def test_text_of_broadcasts_and_scalars():
    told(
        make_jaxpr(lambda x: np.sin(x * 2) + x.sum())(ones),
        """
        { a:float64[3] .
          b:float64[3] = broadcast_in_dim[shape=(3,) dims=()] 2.0:float64
          c:float64[3] = mul a b
          d:float64[3] = sin c
          e:float64[] = reduce_sum[axes=(0,)] a
          f:float64[3] = broadcast_in_dim[shape=(3,) dims=()] e
          g:float64[3] = add d f
          in (g) }
        """,
    )


def test_text_of_promotion():
    told(
        make_jaxpr(lambda w, n: w * n + True)(ones.astype("f4"), 2),
        """
        { a:float32[3] b:int64[] .
          c:float32[] = convert_element_type[dtype=float32] b
          d:float32[3] = broadcast_in_dim[shape=(3,) dims=()] c
          e:float32[3] = mul a d
          f:float32[3] = broadcast_in_dim[shape=(3,) dims=()] 1.0:float32
          g:float32[3] = add e f
          in (g) }
        """,
    )


def test_text_of_a_layer():
    told(
        make_jaxpr(lambda w, x: np.maximum(x @ w, 0))(np.ones((3, 2), "f4"), np.ones((4, 3), "f4")),
        """
        { a:float32[3,2] b:float32[4,3] .
          c:float32[4,2] = dot_general[contract=((1,),(0,)) batch=((),())] b a
          d:float32[4,2] = broadcast_in_dim[shape=(4,2) dims=()] 0.0:float32
          e:float32[4,2] = max c d
          in (e) }
        """,
    )


def test_text_of_captured_arrays_and_several_results():
    told(
        make_jaxpr(lambda x: {"a": x * ones, "b": (3.0, x)})(2.0),
        """
        { a:float64[3] b:float64[] .
          c:float64[3] = broadcast_in_dim[shape=(3,) dims=()] b
          d:float64[3] = mul c a
          in (d, 3.0:float64, b) }
        """,
    )


def test_text_of_jit_inside_jit():
    inner = jit(lambda x: np.sin(x) * 2)
    told(
        jit(lambda x: inner(x) + 1).trace(1.0),
        """
        { a:float64[] .
          b:float64[] = call[name=<lambda>] a
            jaxpr:
              { a:float64[] .
                b:float64[] = sin a
                c:float64[] = mul b 2.0:float64
                in (c) }
          c:float64[] = add b 1.0:float64
          in (c) }
        """,
    )


def test_text_of_a_mapped_function():
    told(
        make_jaxpr(vmap(lambda x, y: x * y, in_axes=(0, None)))(np.ones((2, 3)), ones),
        """
        { a:float64[2,3] b:float64[3] .
          c:float64[2,3] = broadcast_in_dim[shape=(2,3) dims=(1,)] b
          d:float64[2,3] = mul a c
          in (d) }
        """,
    )


def test_text_of_a_gradient_before_and_after_rewrites():
    f = grad(lambda x: x * x * 1.0)
    told(
        make_jaxpr(f)(2.0),
        """
        { a:float64[] .
          b:float64[] = mul a a
          c:float64[] = mul b 1.0:float64
          d:float64[] = mul0 1.0:float64 a
          e:float64[] = mul0 1.0:float64 a
          f:float64[] = add e d
          in (f) }
        """,
    )
    told(
        jit(f).trace(2.0),
        """
        { a:float64[] .
          b:float64[] = add a a
          in (b) }
        """,
    )


def test_text_of_a_checkpoint():
    told(
        jit(grad(checkpoint(lambda x: np.sin(np.sin(x))))).trace(1.0),
        """
        { a:float64[] .
          b:float64[] = checkpoint[name=<lambda>] a 1.0:float64
            jaxpr:
              { a:float64[] b:float64[] .
                c:float64[] = sin a
                d:float64[] = sin c
                e:float64[] = cos a
                f:float64[] = cos c
                g:float64[] = mul0 b f
                h:float64[] = mul0 g e
                in (h) }
          in (b) }
        """,
    )


def equations(program):
    """All equations, those inside regions included."""
    for e in program.eqns:
        yield e
        for value in e.params.values():
            if isinstance(value, Jaxpr):
                yield from equations(value)


def count(program, name):
    return sum(e.primitive.name == name for e in equations(program))


def test_checkpoint_computes_again():
    def f(x):
        for _ in range(5):
            x = np.sin(x)
        return x

    both = fgrad.value_and_grad
    assert count(jit(both(f)).trace(1.0), "sin") == 5
    again = jit(both(checkpoint(f)))
    assert count(again.trace(1.0), "sin") >= 9  # the last one need not be computed twice
    assert again(1.0) == both(f)(1.0)


# ------------------------------------------------------------------------------------------------------ typechecker


def program(inputs, eqns, outputs, consts=()):
    return Jaxpr(inputs, [Eqn(*e) for e in eqns], outputs, consts)


def malformed():
    x, y, z, s = Var(F3), Var(F3), Var(F3), Var(F)
    i = Var(shaped((3,), np.int64))
    fine = program([x], [(p.sin, [x], {}, [y])], [y])
    yield "an operand of 'sin' is not defined before its use", program([x], [(p.sin, [z], {}, [y])], [y])
    yield "is not defined before its use", program([x], [(p.sin, [y], {}, [z]), (p.cos, [x], {}, [y])], [z])
    yield "a variable is defined twice", program([x], [(p.sin, [x], {}, [y]), (p.cos, [x], {}, [y])], [y])
    yield "a variable is defined twice", program([x, x], [], [x])
    yield "a variable is defined twice", program([x], [(p.sin, [x], {}, [x])], [x])
    yield "an output is not defined", program([x], [], [y])
    yield "'sin' gives (float64[3],), its variables say (float64[],)", program([x], [(p.sin, [x], {}, [s])], [s])
    yield "its variables say (int64[3],)", program([x], [(p.sin, [x], {}, [i])], [i])
    yield "its variables say (float64[3], float64[3])", program([x], [(p.sin, [x], {}, [y, z])], [y])
    yield "a const of type float64[3] is bound to", program([x], [], [x], [np.ones(4)])
    yield "a const of type float64[3] is bound to", program([x], [], [x], [np.ones(3, "f4")])
    yield (
        "param 'axes' of 'transpose' holds a ndarray",
        program([x], [(p.transpose, [x], {"axes": np.zeros(1)}, [y])], [y]),
    )
    yield "param 'axes' of 'transpose' is not hashable", program([x], [(p.transpose, [x], {"axes": [0]}, [y])], [y])
    yield (
        "param 'name' of 'call' holds a function",
        program([z], [(p.call, [z], {"jaxpr": fine, "name": lambda: None}, [Var(F3)])], [z]),
    )
    open_body = program([x], [(p.sin, [x], {}, [y])], [y], [ones])
    yield "is a program with consts", program([], [(p.call, [], {"jaxpr": open_body, "name": "f"}, [z])], [z])
    broken = program([x], [(p.sin, [y], {}, [z])], [z])
    yield "an operand of 'sin' is not defined", program([x], [(p.call, [x], {"jaxpr": broken, "name": "f"}, [z])], [z])


@pytest.mark.parametrize(("text", "jaxpr"), list(malformed()), ids=range(16))
def test_typechecker(text, jaxpr):
    with pytest.raises(ProgramError) as caught:
        check(jaxpr, "a test")
    first = str(caught.value).split("\n")[0]
    assert first.startswith("malformed program after a test: ") and text in first


def test_typechecker_passes_what_is_traced():
    check(make_jaxpr(grad(lambda x: jit(np.sum)(np.sin(x) * ones)))(ones))
    # operands that a primitive refuses are refused with the error that a user would see
    x, y = Var(F3), Var(F)
    with pytest.raises(ValueError, match="operands have different shapes"):
        check(program([x, y], [(p.add, [x, y], {}, [Var(F3)])], []))


# --------------------------------------------------------------------------------------------------------- rewrites


def after(rewrite, f, *args):
    """Names of the primitives left of a function of strict primitives, after one rewrite and clearing away."""
    return [e.primitive.name for e in dce(rewrite(make_jaxpr(f)(*args))).eqns]


def full(value, shape=(3,)):
    return stage(p.broadcast_in_dim, np.float64(value), shape=shape, dims=())


z, one, minus = np.float64(0.0), np.float64(1.0), np.float64(-0.0)
IDENTITIES = [
    # multiplication by 1, on both sides; not by anything else
    (lambda x: p.mul(x, one), []),
    (lambda x: p.mul(one, x), []),
    (lambda x: p.mul(x, -one), ["mul"]),
    (lambda x: p.mul(x, z), ["mul"]),  # infinities and NaN
    # sums with zero: only x - 0.0 is x for every bit pattern; -0.0 + 0.0 is 0.0
    (lambda x: p.sub(x, z), []),
    (lambda x: p.sub(x, minus), ["sub"]),
    (lambda x: p.add(x, z), ["add"]),
    (lambda x: p.add(z, x), ["add"]),
    (lambda x: p.sub(z, x), ["sub"]),
    (lambda x: p.div(x, one), []),
    (lambda x: p.div(one, x), ["div"]),
    (lambda x: p.div(x, x), ["div"]),
    (lambda x: p.sub(x, x), ["sub"]),
    (lambda x: p.neg(p.neg(x)), []),
    (lambda x: p.neg(p.sin(x)), ["sin", "neg"]),
    # mul0: exact zeros annihilate, other finite literals multiply plainly
    (lambda x: p.mul0(x, one), []),
    (lambda x: p.mul0(x, z), []),
    (lambda x: p.mul0(x, np.float64(2)), ["mul"]),
    (lambda x: p.mul0(x, np.float64(np.inf)), ["mul0"]),
    (lambda x: p.mul0(x, np.float64(np.nan)), ["mul0"]),
    (lambda x: p.mul0(x, p.sin(x)), ["sin", "mul0"]),
    (lambda x: p.reshape(p.reshape(x, shape=(1,)), shape=()), []),
    (lambda x: p.reshape(x, shape=(1, 1)), ["reshape"]),
    (lambda x: p.reshape(p.reshape(x, shape=(1,)), shape=(1, 1)), ["reshape"]),
    (lambda x: p.convert_element_type(p.convert_element_type(x, dtype=np.dtype("c16")), dtype=np.dtype("f8")), []),
    (
        lambda x: p.convert_element_type(p.convert_element_type(x, dtype=np.dtype("f4")), dtype=np.dtype("f8")),
        ["convert_element_type"] * 2,
    ),
    (
        lambda x: p.convert_element_type(p.convert_element_type(x, dtype=np.dtype("i8")), dtype=np.dtype("f8")),
        ["convert_element_type"] * 2,
    ),
    (lambda x: p.integer_pow(x, n=1), []),
    (lambda x: p.integer_pow(x, n=2), ["square"]),
    (lambda x: p.integer_pow(x, n=3), ["integer_pow"]),
    (lambda x: p.integer_pow(x, n=0), ["integer_pow"]),
    (lambda x: p.select(np.True_, x, p.sin(x)), []),
    (lambda x: p.select(np.False_, p.sin(x), x), []),
    (lambda x: p.select(p.gt(x, z), x, x), []),
    (lambda x: p.select(p.gt(x, z), x, p.sin(x)), ["gt", "sin", "select"]),
    (lambda x: p.reduce_sum(x, axes=()), ["reduce_sum"]),  # -0.0 + nothing is 0.0
    (lambda x: p.reduce_max(x, axes=()), []),
]
PATTERNS = np.array([0.0, -0.0, 1.5, -2.0, np.inf, -np.inf, np.nan, 5e-324, 1e308])


@pytest.mark.parametrize(("f", "left"), IDENTITIES, ids=range(len(IDENTITIES)))
def test_identities_of_algebra(f, left):
    assert after(algebra, f, 0.5) == left
    # and they hold for every bit pattern
    before, rewritten = make_jaxpr(f)(0.5), simplify(make_jaxpr(f)(0.5))
    for x in PATTERNS:
        with np.errstate(all="ignore"):
            a, b = interpret(before, [x]), interpret(rewritten, [x])
        np.testing.assert_array_equal(a, b)
        annihilated = type(rewritten.outputs[0]) is Literal  # by mul0: its zero has no sign
        if not np.isnan(a[0]).any() and not annihilated:
            assert np.signbit(np.real(a[0])) == np.signbit(np.real(b[0]))


def test_identities_of_arrays():
    assert after(algebra, lambda x: p.mul(x, full(1.0)), ones) == []
    assert after(algebra, lambda x: p.sub(x, full(0.0)), ones) == []
    assert after(algebra, lambda x: p.sub(x, full(-0.0)), ones) == ["broadcast_in_dim", "sub"]
    assert after(algebra, lambda x: p.add(x, full(0.0)), ones) == ["broadcast_in_dim", "add"]
    square = np.ones((3, 3))
    swap = {"axes": (1, 0)}
    assert after(algebra, lambda x: p.transpose(p.transpose(x, **swap), **swap), square) == []
    assert after(algebra, lambda x: p.transpose(x, axes=(0, 1)), square) == []
    assert after(algebra, lambda x: p.transpose(x, **swap), square) == ["transpose"]
    turn = {"axes": (1, 2, 0)}
    assert after(algebra, lambda x: p.transpose(p.transpose(x, **turn), **turn), np.ones((1, 2, 3))) == ["transpose"]
    assert after(algebra, lambda x: p.broadcast_in_dim(x, shape=(3,), dims=(0,)), ones) == []
    assert after(algebra, lambda x: p.rev(x, axes=()), ones) == []
    assert after(algebra, lambda x: p.rev(p.rev(x, axes=(0,)), axes=(0,)), ones) == ["rev", "rev"]


def test_common_equations():
    assert after(cse, lambda x: p.add(p.sin(x), p.sin(x)), 1.0) == ["sin", "add"]
    assert after(cse, lambda x: p.add(p.sin(p.cos(x)), p.sin(p.cos(x))), 1.0) == ["cos", "sin", "add"]
    assert after(cse, lambda x: p.add(p.add(x, z), p.add(x, z)), 1.0) == ["add", "add"]
    # equal as Python values, different as bits, types or params
    assert after(cse, lambda x: p.mul(p.add(x, z), p.add(x, minus)), 1.0) == ["add", "add", "mul"]
    two = lambda x: p.concatenate(p.reduce_sum(x, axes=(0,)), p.reduce_sum(x, axes=(1,)), axis=0)  # noqa: E731
    assert after(cse, two, np.ones((2, 2))) == ["reduce_sum", "reduce_sum", "concatenate"]
    assert after(cse, lambda x: p.sub(p.mul(x, np.float64(2)), p.mul(np.float64(2), x)), 1.0) == ["mul", "mul", "sub"]
    inner = jit(lambda x: np.sin(x))
    assert after(cse, lambda x: p.add(inner(x), inner(x)), 1.0) == ["call", "call", "add"]


def test_dead_equations():
    def f(x):
        p.sin(x)
        y = p.cos(x)
        p.exp(p.tan(y))
        return y

    assert [e.primitive.name for e in make_jaxpr(f)(1.0).eqns] == ["sin", "cos", "tan", "exp"]
    assert after(lambda jaxpr: jaxpr, f, 1.0) == ["cos"]
    # an index that nobody reads is not checked
    assert jit(lambda x, i: (x[i], x)[1])(ones, 99).tolist() == [1, 1, 1]
    untouched = make_jaxpr(lambda x: p.sin(x))(1.0)
    assert dce(untouched) is untouched and cse(untouched) is untouched and algebra(untouched) is untouched


def test_pipeline():
    assert [name for name, _ in PIPELINE] == ["dce", "algebra", "cse", "loops", "dce after cse"]


# ------------------------------------------------------------------------------------------------------------- keys


def test_keys_tell_programs_apart():
    def plus(c):
        return make_jaxpr(lambda x: p.add(x, c))(1.0)

    assert plus(z) == plus(z) and hash(plus(z)) == hash(plus(np.float64(0.0)))
    assert plus(z) != plus(minus)
    nan = np.float64(np.nan)
    assert plus(nan) == plus(nan)
    assert plus(z).key == plus(np.array(0.0)).key
    outputs = [make_jaxpr(lambda x, c=c: c)(1.0) for c in (0.0, -0.0, False, 0, 0j, np.float32(0), np.int8(0))]
    assert len({*outputs}) == len(outputs)
    assert make_jaxpr(lambda x, y: p.sub(x, y))(1.0, 1.0) != make_jaxpr(lambda x, y: p.sub(y, x))(1.0, 1.0)
    assert make_jaxpr(lambda x: (p.sin(x), x))(1.0) != make_jaxpr(lambda x: (x, p.sin(x)))(1.0)
    assert make_jaxpr(np.sin)(1.0) != make_jaxpr(np.sin)(np.float32(1))
    assert make_jaxpr(np.sin)(1.0) != make_jaxpr(np.cos)(1.0)
    axes = [make_jaxpr(lambda x, a=a: p.reduce_sum(x, axes=a))(np.ones((2, 2))) for a in ((0,), (1,))]
    assert axes[0] != axes[1]


def test_keys_of_captured_arrays_are_identities():
    a = make_jaxpr(lambda x: x * ones)(1.0)
    b = make_jaxpr(lambda x: x * ones)(1.0)
    assert a != b and a.closed() == b.closed()


def test_literals():
    assert Literal(0.0).key != Literal(-0.0).key != Literal(False).key
    assert str(Literal(np.float32(1)).type) == "float32[]" and type(Literal(1).value) is np.int64


# ------------------------------------------------------------------------------------------ the source about itself


def test_every_primitive_is_explained():
    for primitive in p:
        cls = type(primitive)
        rows = getattr(primitive, "d", None) is not None or getattr(primitive, "tangent_fn", None) is not None
        assert rows or cls.__doc__ or inspect.getmodule(cls).__doc__, primitive


def test_import_is_light():
    code = "import sys, fgrad; print(*[m for m in ('scipy', 'numba', 'hypothesis', 'opt_einsum') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "", found.stdout


@pytest.mark.parametrize("module", ["", ".numpy", ".lax", ".nn", ".random", ".optim", ".testing"])
def test_public_functions_have_examples(module):
    # that the examples run is tested where they stand, by --doctest-modules
    module = importlib.import_module("fgrad" + module)
    names = getattr(module, "__all__", None) or [n for n in dir(module) if not n.startswith("_")]
    mute = []
    for name in set(names) - {"broadcast_shapes"}:
        thing = getattr(module, name)
        ours = inspect.isfunction(thing) and thing.__module__.startswith("fgrad")
        if ours and ">>>" not in (inspect.getdoc(thing) or ""):
            mute.append(name)
    assert not mute


def test_public_classes_have_examples():
    classes = [getattr(fgrad, n) for n in fgrad.__all__ if inspect.isclass(getattr(fgrad, n))]
    assert classes and all(">>>" in inspect.getdoc(c) for c in classes)


def test_no_pass_names_a_primitive():
    names = {primitive.name for primitive in p}
    for path in sorted((SOURCE / "passes").glob("*.py")):
        tree = ast.parse(path.read_text())
        docs = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant)}
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id in ("p", "registry")
            ):
                assert node.attr not in names, (path.name, node.attr)
            if isinstance(node, ast.Compare):
                for c in node.comparators:
                    if isinstance(c, ast.Constant) and id(c) not in docs:
                        assert c.value not in names, (path.name, c.value)


def test_files_are_short():
    long = {}
    for folder in (SOURCE, Path(__file__).parent):
        for path in folder.rglob("*.py"):
            lines = path.read_text().count("\n")
            if lines > 560:  # about 500, and nothing is split for a few lines more
                long[str(path.relative_to(folder))] = lines
    assert not long


def test_no_text_waits_to_be_written():
    for path in SOURCE.rglob("*.py"):
        assert not re.search(r"\b(TODO|FIXME|XXX|NotImplementedError)\b", path.read_text()), path
