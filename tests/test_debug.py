"""debug.print, debug.callback and debug.breakpoint: what is seen of a program, how often and in which order."""

import bdb
import io
import signal
import subprocess
import sys

import numpy as np
import pytest
from called import X, ways
from pinned import bad, refused

import fgrad
import fgrad.numpy as fnp
from fgrad import debug


def shown(capsys):
    """The lines printed since the last look."""
    return capsys.readouterr().out.splitlines()


def sine(x):
    debug.print("x = {}", x)
    y = fnp.sin(x)
    debug.print("y = {y:.2f}", y=y)
    return y


def sum_of_sines(x):
    debug.print("x = {}", x)
    return fnp.sum(fnp.sin(x) ** 2)


class TestPrint:
    @ways
    def test_prints_at_each_run_in_order(self, wrap, capsys):
        f = wrap(sine)
        f(0.0), f(1.0)
        assert shown(capsys) == ["x = 0.0", "y = 0.00", "x = 1.0", "y = 0.84"]

    @ways
    def test_formats(self, wrap, capsys):
        def f(x):
            debug.print("")
            debug.print(
                "{{}} {0} {0:6.2f} {1!r} {name[b]} {name[a]:>{width}} {2.shape}",
                x,
                "s",
                X,
                name={"a": 1, "b": x},
                width=3,
            )
            debug.print("{} {}", None, [x, ("t", 2)])

        wrap(f)(0.5)
        assert shown(capsys) == ["", "{} 0.5   0.50 's' 0.5   1 (3,)", "None [np.float64(0.5), ('t', np.int64(2))]"]

    @ways
    def test_print_options_are_those_of_the_run(self, wrap, capsys):
        f = wrap(lambda x: debug.print("{}", x))
        f(X / 3)
        with np.printoptions(precision=2):
            f(X / 3)
        assert shown(capsys) == [str(X / 3), "[ 0.17 -0.33  0.67]"]

    def test_options_first(self, capsys):
        fgrad.jit(lambda x: debug.print(ordered=True)("{} {ordered}", x, ordered=1))(2.0)
        fgrad.jit(lambda x: debug.print("{} {title}", x, title="t", ordered=True, partitioned=True))(2.0)
        fgrad.jit(lambda x: debug.print("{}", x, 3, skip_format_check=True))(2.0)
        assert shown(capsys) == ["2.0 1", "2.0 t", "2.0"]

    def test_not_while_tracing(self, capsys):
        fgrad.make_jaxpr(sine)(1.0)
        fgrad.eval_shape(sine, 1.0)
        fgrad.jit(sine).lower(1.0).compile()
        assert shown(capsys) == []

    def test_nothing_but_a_print(self, capsys):
        f = fgrad.jit(lambda: debug.print("hello"))
        outer = fgrad.jit(lambda: f())
        for g in (f, outer):
            for _ in range(2):
                assert g() is None
        assert shown(capsys) == ["hello"] * 4

    def test_the_program(self):
        assert str(fgrad.make_jaxpr(lambda x: debug.print("{}", x))(1.0)) == (
            "{ a:float64[] .\n"
            "  debug_callback[function=show out=() lanes=() carried=((),) method=sequential ordered=False] a\n"
            "  in () }"
        )

    def test_equal_programs_are_compiled_once(self):
        def program():
            return fgrad.jit(lambda x: (debug.print("once {}", x), x + 1)[1])

        first, second = [p.lower(1.0).compile() for p in (program(), program())]
        assert first._executable is second._executable


class TestTransformations:
    @pytest.mark.parametrize("inner", [lambda f: f, fgrad.jit], ids=["eager", "jit"])
    def test_derivatives_print_once(self, inner, capsys):
        f = inner(sum_of_sines)
        for way in (
            fgrad.grad(f),
            fgrad.jit(fgrad.grad(f)),
            lambda x: fgrad.vjp(f, x)[1](1.0),
            lambda x: fgrad.jvp(f, (x,), (x,)),
            lambda x: fgrad.linearize(f, x)[1](x),
            fgrad.hessian(f),
            fgrad.jit(fgrad.hessian(f)),
            fgrad.grad(lambda x: fnp.sum(fgrad.grad(f)(x))),
            lambda x: fgrad.vmap(fgrad.grad(f))(x[None]),
        ):
            way(X)
            assert shown(capsys) == [f"x = {X}"]

    def test_eager_grad_prints_in_the_order_of_python(self, capsys):
        def f(x):
            for i in range(2):
                debug.print("{} {}", i, x)
                print("python", i)
                x = x * x
            return x

        fgrad.grad(f)(3.0)
        assert shown(capsys) == ["0 3.0", "python 0", "1 9.0", "python 1"]

    @ways
    def test_lanes_in_order(self, wrap, capsys):
        wrap(fgrad.vmap(sine))(np.array([0.0, 1.0]))
        assert shown(capsys) == ["x = 0.0", "x = 1.0", "y = 0.00", "y = 0.84"]
        wrap(fgrad.vmap(fgrad.grad(sum_of_sines)))(np.array([0.0, 1.0]))
        assert shown(capsys) == ["x = 0.0", "x = 1.0"]
        wrap(fgrad.grad(lambda x: fnp.sum(fgrad.vmap(sum_of_sines)(x))))(np.array([0.0, 1.0]))
        assert shown(capsys) == ["x = 0.0", "x = 1.0"]

    @ways
    def test_lanes_that_do_not_differ(self, wrap, capsys):
        f = fgrad.vmap(lambda x, y: (debug.print("once"), debug.print("{}", y), x)[-1], (0, None))
        wrap(f)(X, 2.0)
        assert shown(capsys) == ["once", "2.0"]

    @ways
    def test_checkpoint(self, wrap, capsys):
        wrap(fgrad.value_and_grad(fgrad.checkpoint(sum_of_sines)))(X)
        assert shown(capsys) == [f"x = {X}"] * 2

    @ways
    def test_custom_rules(self, wrap, capsys):
        @fgrad.custom_vjp
        def f(x):
            debug.print("primal")
            return x**2

        def forward(x):
            debug.print("forward {}", x)
            return x**2, x

        def backward(x, ct):
            debug.print("backward {} {}", x, ct)
            return (2 * x * ct,)

        f.defvjp(forward, backward)
        assert wrap(f)(3.0) == 9.0
        assert wrap(fgrad.grad(lambda x: 2 * f(x)))(3.0) == 12.0
        assert shown(capsys) == ["primal", "forward 3.0", "backward 3.0 2.0"]

        @fgrad.custom_jvp
        def g(x):
            return x**2

        @g.defjvp
        def rule(primals, tangents):
            debug.print("rule {}", primals[0])
            debug.print("tangent {}", tangents[0])  # there is none in reverse mode
            return primals[0] ** 2, 2 * primals[0] * tangents[0]

        assert wrap(lambda x: fgrad.jvp(g, (x,), (1.0,))[1])(3.0) == 6.0
        assert shown(capsys) == ["rule 3.0", "tangent 1.0"]
        assert wrap(fgrad.grad(g))(3.0) == 6.0
        assert shown(capsys) == ["rule 3.0"]

    def test_transposes(self, capsys):
        f = lambda x: (debug.print("{}", x), debug.print("known"), 3 * x)[-1]  # noqa: E731
        assert fgrad.linear_transpose(f, 1.0)(2.0) == (6.0,)
        assert shown(capsys) == ["known"]

    def test_index_errors_print_nothing_again(self, capsys):
        f = fgrad.jit(lambda x, i: (debug.print("i = {}", i), x[i], debug.print("behind"))[1])
        assert f(X, 1) == -1.0
        with pytest.raises(IndexError, match="index 3 is out of bounds"):
            f(X, 3)
        assert shown(capsys) == ["i = 1", "behind", "i = 3"]


class TestCallback:
    @ways
    def test_arguments(self, wrap):
        seen = []
        thing = object()

        def look(x, *rest, **named):
            seen.append((x, rest, named))
            return "not looked at"

        f = wrap(lambda x: debug.callback(look, {"x": x}, thing, "s", 1, flag=True, y=[x, None]))
        assert f(2.0) is None
        ((x, rest, named),) = seen
        assert x == {"x": 2.0} and type(x["x"]) is np.float64
        assert rest == (thing, "s", 1) and type(rest[2]) is np.int64
        assert named == {"flag": True, "y": [2.0, None]} and type(named["flag"]) is np.bool_

    def test_options_first(self):
        seen = []
        fgrad.jit(lambda x: debug.callback(ordered=True)(seen.append, x))(1.0)
        fgrad.vmap(lambda x: debug.callback(seen.append, x, ordered=True))(X)
        assert seen == [1.0, *X]

    def test_exceptions(self):
        def fail(x):
            raise ZeroDivisionError("mine")

        with pytest.raises(ZeroDivisionError, match=r"^mine$"):
            fgrad.jit(fgrad.grad(lambda x: (debug.callback(fail, x), x)[1]))(1.0)


class TestErrors:
    @pytest.mark.parametrize(
        ("fmt", "args", "kwargs", "what"),
        [
            ("{}", (), {}, "does not fit its arguments: Replacement index 0 out of range for positional args tuple"),
            ("{x}", (1,), {}, "does not fit its arguments: 'x'"),
            ("{", (1,), {}, "does not fit its arguments: Single '{' encountered in format string"),
        ],
    )
    def test_formats_that_do_not_fit(self, fmt, args, kwargs, what):
        refused(
            lambda: debug.print(fmt if bad else "", *args, **kwargs, skip_format_check=not bad),  # here
            ValueError,
            f"debug.print: the format {what}",
            got=repr(fmt),
            do="write {} or {name} for each argument",
        )

    def test_arguments_that_are_not_used(self):
        refused(
            lambda: debug.print("x = 1.0" if bad else "{} {} {y}", 1, 2, y=3),  # here
            ValueError,
            "debug.print: the format does not use argument 0, 1, y",
            got="'x = 1.0'",
            do="write {} or {name} for each argument; an f-string is formatted too early, while the program is traced",
        )

    def test_no_format(self):
        refused(
            lambda: debug.print(X if bad else ""),  # here
            TypeError,
            "debug.print takes a format string first",
            got="ndarray",
            do='write debug.print("{}", x)',
        )
        with pytest.raises(TypeError, match=r"debug\.callback takes a function"):
            debug.callback(3, X)


# ---------------------------------------------------------------------------------------------------------- breakpoint


def stopping(x, scale=2.0):
    y = {"double": scale * x, "name": "y"}
    debug.breakpoint()  # here
    return y["double"] + 1


@pytest.fixture
def session(monkeypatch, capsys):
    """Runs a function with commands for the debugger on standard input; gives what it printed, and the result."""

    def run(f, *commands):
        monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{c}\n" for c in commands)))
        result = f()
        return capsys.readouterr().out, result

    before = signal.getsignal(signal.SIGINT)
    yield run
    signal.signal(signal.SIGINT, before)  # pdb's command `continue` takes it


class TestBreakpoint:
    @pytest.mark.parametrize("backend", ["native", "interpreter"])
    def test_in_a_program(self, session, backend):
        f, handler = fgrad.jit(stopping, backend=backend), signal.getsignal(signal.SIGINT)
        commands = ["p y['double'] * 10", "p y['name'], scale", "p type(x).__name__", "p np.sqrt(16.0)", "c"]
        for x in (4.0, 5.0):
            out, result = session(lambda x=x: f(x), *commands)
            first, line = out.splitlines()[:2]
            assert first.startswith(f"> {__file__}(") and first.endswith(")stopping()")
            assert line == "-> debug.breakpoint()  # here"
            assert f"np.float64({20 * x})" in out and "('y', 2.0)" in out
            assert "'float64'" in out and "np.float64(4.0)" in out
            assert result == 2 * x + 1
        assert signal.getsignal(signal.SIGINT) is handler

    def test_for_each_lane(self, session):
        f = fgrad.vmap(lambda x: stopping(x))
        for g in (f, fgrad.jit(f)):
            out, result = session(lambda g=g: g(X), *["p 'x is', float(x)", "c"] * 3)
            np.testing.assert_array_equal(result, 2 * X + 1)
            places = [out.index(f"('x is', {x})") for x in X]
            assert places == sorted(places)

    def test_quitting(self, session):
        with pytest.raises(bdb.BdbQuit):
            session(lambda: fgrad.jit(stopping)(1.0), "q")
        assert session(lambda: fgrad.jit(stopping)(1.0), "n")[1] == 3.0

    def test_where_values_are_known_it_is_pdb_in_the_callers_frame(self):
        """In a process of its own, since the tests' own tracing would end with it."""
        text = (
            "import fgrad\n"
            "def f(x):\n"
            "    y = 3 * x\n"
            "    fgrad.debug.breakpoint()\n"
            "    z = y * y\n"
            "    return z\n"
            "print(fgrad.grad(f)(2.0))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", text],
            input="p y\nn\nn\np 'z is', z\nc\n",
            capture_output=True,
            text=True,
            check=True,
        )
        assert "<traced float64[], value=6.0>" in done.stdout
        assert "('z is', <traced float64[], value=36.0>)" in done.stdout
        assert done.stdout.splitlines()[-1] == "(Pdb) 36.0"

    def test_where_nothing_is_traced(self, session):
        def g():
            debug.breakpoint()

        out, _ = session(lambda: fgrad.jit(lambda x: (g(), x)[1])(1.0), "p 'here'", "c")
        assert out.count("'here'") == 1

    def test_leaked_and_large_values_do_not_matter(self, session):
        leaked = []
        fgrad.jit(lambda x: leaked.append(x))(1.0)

        @fgrad.jit
        def f(x):
            old, _table = leaked, np.zeros((100, 100))
            debug.breakpoint(num_frames=1)
            return x + old[1]

        leaked.append(1.0)
        out, result = session(lambda: f(2.0), "p _table.shape, float(x), len(old)", "c")
        assert "((100, 100), 2.0, 2)" in out and result == 3.0
        assert not f.trace(2.0).consts
