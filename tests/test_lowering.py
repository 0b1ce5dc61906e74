"""lower() and compile(): what they show, what they count, what they run, and python -m fgrad info."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest

import fgrad
import fgrad.numpy as fnp
from fgrad.compile import engine, numba_kernels
from fgrad.core import errors

F4 = np.float32


def struct(*shape, dtype=F4):
    return fgrad.ShapeDtypeStruct(shape, dtype)


def softmax(x):
    e = fnp.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def loss(params, x, y):
    h = fnp.tanh(x @ params["w1"] + params["b1"])
    return ((h @ params["w2"] - y) ** 2).mean()


def sgd(params, x, y):
    return fgrad.tree.map(lambda p, g: p - 0.1 * g, params, fgrad.grad(loss)(params, x, y))


PARAMS = {"w1": struct(64, 32), "b1": struct(32), "w2": struct(32, 10)}
SGD = (PARAMS, struct(32, 64), struct(32, 10))


def arrays(structs, seed=0):
    rng = np.random.default_rng(seed)
    return fgrad.tree.map(lambda s: rng.normal(size=s.shape).astype(s.dtype), structs)


def titles(text):
    return re.findall(r"^=== (.*) ===$", text, re.MULTILINE)


# ------------------------------------------------------------------------------------------------------------- texts


def test_softmax_is_shown_from_program_to_memory():
    lowered = fgrad.jit(softmax).lower(struct(200, 100))
    assert titles(str(lowered)) == [
        "traced program", "fused steps", "loop nests", "Python source", "thunks and memory",
    ]  # fmt: skip
    assert lowered.as_text("program") == str(fgrad.make_jaxpr(softmax)(np.ones((200, 100), F4)))
    assert lowered.as_text("steps") == (
        "0    kernel over 200x100 (rows 0; columns 1)\n"
        "       b = max over columns\n"
        "       f\n"
        "       g = add over columns\n"
        "       j -> memory"
    )
    nests = lowered.as_text("nests")
    assert nests.count("kernel k_") == 1
    for line in (
        "  # b:float32[200] = reduce_max[axes=(1,)] a",
        "  # j:float32[200,100] = div f i",
        "  # p0 = a:float32[200,100], p1 = j:float32[200,100]",
        "  # dims (100, 100); [begin, end) is of [0, 200)",
        "    acc0 = max from %0:f32",
    ):
        assert line in nests.split("\n")
    assert "define i32 @k_" in lowered.as_text("llvm")
    assert repr(lowered) == "<Lowered jit(softmax) of float32[200,100]>"


def test_rewrites_are_shown_where_they_changed_something():
    def f(x):
        np.sin(x)
        return np.exp(x) + np.exp(x)

    lowered = fgrad.jit(f).lower(struct(3))
    assert titles(lowered.as_text("rewrites")) == ["after dce", "after cse"]
    assert lowered.as_text("program").count("exp") == 2
    assert lowered.as_text("rewrites").split("===")[-1].count("exp") == 1
    assert fgrad.jit(np.sin).lower(struct(3)).as_text("rewrites") == ""
    inner = fgrad.jit(softmax)
    outer = fgrad.jit(lambda x: inner(x) * 2).lower(struct(4, 5))
    assert titles(outer.as_text("rewrites")) == ["after calls in place"]


def test_equal_kernels_are_shown_once():
    def layers(x, ws):
        for w in ws:
            x = fnp.tanh(x @ w)
        return x

    lowered = fgrad.jit(layers).lower(struct(8, 16), [struct(16, 16)] * 6)
    nests = lowered.as_text("nests")
    assert nests.count("kernel k_") == 2
    for same in ("2, 4, 6, 8, 10", "3, 5, 7, 9, 11"):
        assert f"; the same kernel: items {same}" in nests
    assert lowered.as_text("python").count("def k_") == 2
    assert lowered.as_text("steps").count("gemm 8 x 16 x 16") == 6


def test_steps_of_a_training_step():
    steps = fgrad.jit(sgd).lower(*SGD).as_text("steps").split("\n")
    heads = [re.sub(r":.*", "", line[5:]) for line in steps if line[0] != " "]
    assert heads == [
        "gemm 32 x 64 x 32", "kernel over 32x32", "gemm 32 x 32 x 10", "kernel over 32x10", "gemm 32 x 10 x 32",
        "kernel over 32x32 (rows 1; columns 0)", "gemm 64 x 32 x 32", "gemm 32 x 32 x 10",
    ]  # fmt: skip


def test_python_source_runs_by_itself():
    lowered = fgrad.jit(softmax).lower(struct(5, 7))
    source = lowered.as_text("python")
    call = re.search(r"^# (k_\w+\(.*\))$", source, re.MULTILINE).group(1)
    x = arrays(struct(5, 7))
    names = {"p0": x.reshape(-1), "p1": np.zeros(35, F4)}
    exec(source, names)
    assert eval(call, names) == (0, 0, 0)
    e = np.exp(x.astype(float) - x.max(1, keepdims=True))
    np.testing.assert_allclose(names["p1"].reshape(5, 7), e / e.sum(1, keepdims=True), rtol=1e-6)


def test_python_source_of_several_kernels_imports_once():
    source = fgrad.jit(sgd).lower(*SGD).as_text("python")
    assert source.count("import") == 1 and source.count("def tanh_f32") == 1
    exec(source, {})


def test_a_program_without_kernels():
    lowered = fgrad.jit(np.sort).lower(struct(9))
    assert lowered.as_text("python").strip() == lowered.as_text("nests") == lowered.as_text("llvm") == ""
    assert "NumPy: sort: b:float32[9] = sort" in lowered.as_text("steps")


@pytest.mark.parametrize("f", [lambda x: x[2:] + 1, lambda x: x.sum(), lambda x: x.T + 0, lambda x: x, lambda x: 3.0])
def test_every_program_can_be_shown(f):
    lowered = fgrad.jit(f).lower(struct(4, 300))
    for stage in ("program", "rewrites", "steps", "nests", "python", "llvm", "plan"):
        lowered.as_text(stage)
    assert "thunks and memory" in str(lowered) and lowered.cost_analysis()["bytes accessed"] >= 0


def test_unknown_stage():
    with pytest.raises(ValueError, match="no stage 'hlo'") as caught:
        fgrad.jit(np.sin).lower(1.0).as_text("hlo")
    assert "choose one of ('program', 'rewrites', 'steps', 'nests', 'python', 'llvm', 'plan')" in str(caught.value)


def test_nothing_runs_and_nothing_is_compiled(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError

    monkeypatch.setattr(engine, "compile_texts", refuse)
    monkeypatch.setattr(numba_kernels, "compile", refuse)
    monkeypatch.setattr(np, "sort", refuse)
    lowered = fgrad.jit(lambda x: fnp.sort(x * 1.25) - 0.375).lower(struct(1 << 40))  # 4 TB
    assert "float32[1099511627776]" in str(lowered)


def test_the_interpreter_has_programs_only():
    lowered = fgrad.jit(softmax, backend="interpreter").lower(struct(3, 4))
    assert titles(str(lowered)) == ["traced program"]
    for ask in (lowered.cost_analysis, lowered.memory_plan, lambda: lowered.as_text("nests")):
        with pytest.raises(ValueError, match="there is no plan"):
            ask()
    x = arrays(struct(3, 4))
    np.testing.assert_allclose(lowered.compile()(x), softmax(x), rtol=1e-6)


# ------------------------------------------------------------------------------------------------------------- costs


def test_costs_of_a_product_are_two_m_n_k():
    costs = fgrad.jit(lambda x, w: x @ w).lower(struct(64, 32), struct(32, 128)).cost_analysis()
    moved = 4 * (64 * 32 + 32 * 128 + 64 * 128)
    assert costs == {
        "flops": 2 * 64 * 32 * 128,
        "transcendentals": 0,
        "bytes accessed": moved,
        "peak memory": 4 * 64 * 128,
    }


def test_costs_of_elementwise_programs():
    costs = fgrad.jit(lambda x: np.sin(x) * 2 + 1).lower(struct(1000, dtype=float)).cost_analysis()
    assert costs["flops"] == 2000 and costs["transcendentals"] == 1000 and costs["bytes accessed"] == 16000
    # per row: of 50 elements the maximum, subtraction, sum, division
    costs = fgrad.jit(softmax).lower(struct(20, 50)).cost_analysis()
    assert costs["flops"] == 4 * 1000 and costs["transcendentals"] == 1000
    assert fgrad.jit(lambda x: x**3).lower(struct(10)).cost_analysis()["flops"] == 20
    assert fgrad.jit(np.sum).lower(struct(100_000)).cost_analysis()["flops"] == 100_000


def test_what_depends_on_rows_alone_counts_by_row():
    f = fgrad.jit(lambda x, y: x * fnp.sqrt(y)[:, None])
    assert f.lower(struct(30, 40), struct(30)).cost_analysis()["flops"] == 30 * 40 + 30


# ------------------------------------------------------------------------------------------------------------ memory


def test_memory_plan_counts_bytes():
    plan = fgrad.jit(sgd).lower(*SGD).memory_plan()
    parameters, data = 4 * (64 * 32 + 32 + 32 * 10), 4 * (32 * 64 + 32 * 10)
    assert plan.argument_bytes == plan.argument_size_in_bytes == parameters + data
    assert plan.output_bytes == plan.output_size_in_bytes == parameters
    assert plan.alias_bytes == 0 and plan.temp_size_in_bytes == plan.arena_bytes
    assert plan.peak_bytes == plan.arena_bytes + parameters
    by_name = {b.name: b for b in plan.buffers}
    assert by_name["b"].place == "argument [0]['w1']" and by_name["b"].bytes == 8192
    assert any("i over f" in line for line in plan.in_place)


def test_donated_arguments_and_their_fate():
    def f(p, q, x):
        return p - 0.5 * x, x.sum()

    plan = fgrad.jit(f, donate_argnums=(0, 1)).lower(struct(100), struct(3), struct(100)).memory_plan()
    assert plan.donated == (
        "argument [0]: result [0] is written into it",
        "argument [1]: not used, since no result is a float32[3] that is written only when nothing reads it any more",
    )
    assert plan.alias_bytes == 400 and plan.peak_bytes == 4 + plan.arena_bytes
    text = repr(plan)
    assert "result [0], in the memory of argument [0]" in text and "donated:" in text
    info = fgrad.jit(f, donate_argnums=(0, 1)).lower(struct(100), struct(3), struct(100)).args_info
    assert [a.donated for a in info[0]] == [True, True, False]


def test_gradient_step_updates_donated_parameters_in_place():
    lowered = fgrad.jit(sgd, donate_argnums=0).lower(*SGD)
    fates = {line.split(":")[0]: line for line in lowered.memory_plan().donated}
    assert fates["argument [0]['w1']"].endswith("result ['w1'] is written into it")
    assert fates["argument [0]['w2']"].endswith("result ['w2'] is written into it")
    params, x, y = arrays(SGD)
    expected = sgd(params, x, y)
    got = lowered.compile()(params, x, y)
    assert got["w1"] is params["w1"] and got["w2"] is params["w2"]
    for key in expected:
        np.testing.assert_allclose(got[key], expected[key], rtol=2e-5, atol=1e-6)


def test_copies_and_why():
    captured = np.arange(3.0)
    plan = fgrad.jit(lambda x: (x, x + 1, 2.5, captured)).lower(struct(4, dtype=float)).memory_plan()
    assert plan.copies == (
        "result [0]: it is an argument",
        "result [2]: it is a constant",
        "result [3]: it is a captured array",
    )
    twice = fgrad.jit(lambda x: [y := x + 1, y]).lower(struct(4)).memory_plan()
    assert twice.copies == ("result [1]: it is returned twice",)


# ---------------------------------------------------------------------------------------------------------- compiled


@pytest.mark.parametrize("backend", ["native", "numba", "interpreter"])
def test_compiled_functions_compute_what_the_function_does(backend):
    compiled = fgrad.jit(loss, backend=backend).lower(*SGD).compile()
    args = arrays(SGD, 1)
    for _ in range(3):
        np.testing.assert_allclose(compiled(*args), loss(*args), rtol=1e-5)
    assert repr(compiled) == (
        "<Compiled jit(loss) of float32[32], float32[64,32], float32[32,10], float32[32,64], float32[32,10]>"
    )


def test_compiled_shares_code_with_calls():
    f = fgrad.jit(lambda x: x * 2 + 1)
    x = np.arange(5.0)
    f(x)
    compiled = f.lower(x).compile()
    np.testing.assert_array_equal(compiled(x), f(x))
    assert set(compiled.times) == {"trace", "plan", "code", "table"} and all(t >= 0 for t in compiled.times.values())
    assert compiled.cost_analysis() == f.lower(x).cost_analysis()
    assert compiled.memory_analysis().output_size_in_bytes == 40
    assert compiled.as_text("steps") == f.lower(x).as_text("steps")


def test_trees_and_infos():
    lowered = fgrad.jit(lambda d, *, s: {"y": d["a"] * s}).lower({"a": struct(3)}, s=2.0)
    assert lowered.in_tree == fgrad.tree.structure((({"a": 0},), {"s": 0}))
    assert lowered.out_tree == fgrad.tree.structure({"y": 0})
    assert lowered.out_info == {"y": struct(3)} and lowered.donate_argnums == ()
    compiled = lowered.compile()
    assert compiled.out_info == lowered.out_info and compiled.args_info == lowered.args_info
    for _ in range(2):
        np.testing.assert_array_equal(compiled({"a": np.ones(3, F4)}, s=3.0)["y"], 3 * np.ones(3, F4))


def test_static_arguments_are_left_out():
    f = fgrad.jit(lambda n, x, mode: x**n if mode == "power" else x, static_argnums=0, static_argnames="mode")
    compiled = f.lower(3, struct(2), mode="power").compile()
    np.testing.assert_array_equal(compiled(np.array([2, 3], F4)), [8, 27])
    with pytest.raises(errors.TreeError, match="lowered for arguments of another structure"):
        compiled(3, np.ones(2, F4), mode="power")


def test_python_numbers_stand_for_scalars_of_their_kind():
    compiled = fgrad.jit(lambda x: x + 1).lower(struct()).compile()
    for _ in range(2):
        assert compiled(2.5) == compiled(F4(2.5)) == compiled(np.array(2.5, F4)) == 3.5 and compiled(2) == 3
        assert type(compiled(2.5)) is F4
    whole = fgrad.jit(lambda n: n + 1).lower(1).compile()
    assert whole(41) == whole(np.int64(41)) == 42
    for bad in (2.5, True, np.int32(1)):
        with pytest.raises(errors.DtypeError):
            whole(bad)


def test_calls_that_do_not_fit():
    compiled = fgrad.jit(loss).lower(*SGD).compile()
    params, x, y = arrays(SGD)
    with pytest.raises(errors.ShapeError) as caught:
        compiled(params, x[:5], y)
    assert str(caught.value).split("\n")[0] == "jit(loss): argument [1] is not what it was lowered for"
    assert "  got: float32[5,64]\n" in str(caught.value)
    assert "  do:  pass float32[32,64], or call the jitted function itself" in str(caught.value)
    with pytest.raises(errors.DtypeError, match=r"argument \[0\]\['b1'\]"):
        compiled({**params, "b1": np.zeros(32)}, x, y)
    with pytest.raises(errors.TreeError) as caught:
        compiled(params, x)
    assert "expected a tuple of 3, got a tuple of 2" in str(caught.value)
    with pytest.raises(errors.ConcretizationError, match="cannot be traced"):
        fgrad.grad(compiled)(params, x, y)


def test_a_function_of_traced_values_cannot_be_lowered():
    def outer(c):
        return fgrad.jit(lambda x: x * c).lower(struct(3)) and c

    with pytest.raises(errors.ConcretizationError, match="another transformation traces"):
        fgrad.jit(outer)(1.0)


def test_index_errors_name_the_line():
    def pick(x, i):
        return x[i]

    compiled = fgrad.jit(pick).lower(np.arange(3.0), 1).compile()
    assert compiled(np.arange(3.0), 2) == 2
    for _ in range(2):
        with pytest.raises(IndexError, match=r"return x\[i\]"):
            compiled(np.arange(3.0), 5)


def test_a_program_that_is_planned_anew():
    f = fgrad.jit(fgrad.grad(lambda x: fnp.where(x > 0, fnp.log(x), 0.0).sum()))
    compiled = f.lower(struct(3, dtype=float)).compile()
    x = np.array([0.5, 2.0, 4.0])
    for _ in range(2):
        np.testing.assert_allclose(compiled(x), 1 / x)
    before = compiled.as_text("nests")
    for _ in range(2):
        np.testing.assert_array_equal(compiled(np.array([0.0, -1.0, 2.0])), [0, 0, 0.5])
        np.testing.assert_allclose(compiled(x), 1 / x)
    assert "check" in before and "check" not in compiled.as_text("nests")


def test_strange_layouts():
    compiled = fgrad.jit(lambda x: x * 2).lower(struct(3, 4, dtype=float)).compile()
    x = np.arange(12.0).reshape(4, 3).T
    for y in (x, x[::-1], x.astype(">f8")):
        for _ in range(2):
            np.testing.assert_array_equal(compiled(y), np.asarray(y, float) * 2)


# ---------------------------------------------------------------------------------------------------- python -m fgrad


def run(*arguments, **env):
    command = [sys.executable, "-m", "fgrad", *arguments]
    base = {k: v for k, v in os.environ.items() if not k.startswith("OPENBLAS_")}
    return subprocess.run(command, capture_output=True, text=True, env={**base, **env})


def test_info():
    done = run("info", FGRAD_NUM_THREADS="1")
    assert done.returncode == 0 and done.stderr == ""
    starts = [line.split(":")[0].split(" ")[0] for line in done.stdout.splitlines()]
    assert starts == ["fgrad", "processor", "matrix", "threads", "kernel"]
    assert f"numpy {np.__version__}" in done.stdout and "threads: 1 of" in done.stdout
    assert "OpenBLAS" in done.stdout and "routines for" in done.stdout


def test_info_warns_of_handicaps():
    done = run("info", OPENBLAS_CORETYPE="Haswell", OPENBLAS_L2_SIZE="512")
    warnings = [line for line in done.stdout.splitlines() if line.startswith("warning: ")]
    assert [w.split(" is set")[0] for w in warnings] == [
        "warning: OPENBLAS_CORETYPE=Haswell", "warning: OPENBLAS_L2_SIZE=512",
    ]  # fmt: skip


def test_other_commands():
    done = run("inform")
    assert done.returncode == 2 and done.stderr == "usage: python -m fgrad info\n"
