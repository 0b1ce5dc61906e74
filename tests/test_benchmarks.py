"""The benchmark's programs give the same results in fgrad as by hand in NumPy, at tiny sizes; no peer is needed."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from cases import CASES, find, select  # noqa: E402
from cases.case import Case, disagreement, in_float64, leaves, map_leaves, reference  # noqa: E402
from cases.goals import FIRST, STEADY, Goal, geometric_mean, judge, judge_first, warm_goal  # noqa: E402
from cases.libraries import as_numpy, prepare  # noqa: E402
from cases.networks import RATE  # noqa: E402
from tables import END, PARTS, START, into, merged, report  # noqa: E402

DTYPES = ("float32", "float64")
NAMES = [case.name for case in CASES]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("library", ["fgrad", "numpy"])
@pytest.mark.parametrize("name", NAMES)
def test_results(name: str, library: str, dtype: str) -> None:
    case = find(name)
    call = prepare(library, case, dtype)(case.arguments(dtype, case.tiny))
    expected = reference(case, dtype, case.tiny)
    for _ in range(2):
        assert disagreement(case, dtype, as_numpy(call()), expected) is None


@pytest.mark.parametrize("case", [case for case in CASES if case.second is not None], ids=lambda case: case.name)
def test_second_size_is_the_same_program(case: Case) -> None:
    kinds = [
        [(leaf.ndim, leaf.dtype) for leaf in leaves(case.arguments("float32", size))]
        for size in (case.size, case.second)
    ]
    assert kinds[0] == kinds[1]
    assert case.second != case.size


@pytest.mark.parametrize(
    "name",
    ["MLP 64-32-10, batch 32, SGD", "MLP 784-512-512-10, batch 128, SGD", "LeNet, batch 128, SGD"]
    + ["1000 residual layers of 32, SGD"],
)
def test_reference_by_finite_differences(name: str) -> None:
    """The gradients by hand are the derivatives of the loss by hand, along a random direction."""
    case = find(name)
    params, *data = in_float64(case.arguments("float64", case.tiny))
    new, _ = case.numpy(params, *data)
    gradient = [(old - stepped) / RATE for old, stepped in zip(leaves(params), leaves(new), strict=True)]
    rng = np.random.default_rng(1)
    direction = map_leaves(lambda a: rng.normal(size=a.shape), params)
    step = 1e-7  # wider ones step over the kinks of maxima

    def along(t: float) -> float:
        found = iter(leaves(direction))
        return float(case.numpy(map_leaves(lambda a: a + t * next(found), params), *data)[1])

    slope = sum(float(np.sum(g * d)) for g, d in zip(gradient, leaves(direction), strict=True))
    assert (along(step) - along(-step)) / (2 * step) == pytest.approx(slope, rel=1e-5)


def test_wrong_results_are_told() -> None:
    case = find("tanh 1M")
    expected = reference(case, "float32", case.tiny)
    right = expected[0].astype(np.float32)
    assert disagreement(case, "float32", right, expected) is None
    assert disagreement(case, "float32", right * np.float32(1.001), expected) == "relative error 1.0e-03"
    assert disagreement(case, "float32", right.astype(np.float64), expected) == "dtype float64, not float32"
    assert disagreement(case, "float32", right[1:], expected) == "shape (6,), not (7,)"
    assert disagreement(case, "float32", (right, right), expected) == "2 results, not 1"
    right[0] = np.nan
    assert disagreement(case, "float32", right, expected) == "relative error inf"


def test_every_goal_has_its_case() -> None:
    assert {name for goals in STEADY.values() for name in goals} <= set(NAMES)
    assert len(set(NAMES)) == len(NAMES)
    timed = {case.name for case in CASES if not case.compiling}
    assert timed - set(STEADY["float32"]) == {"matmul 1024"}


def test_selection() -> None:
    assert [case.name for case in select("TANH 1|sort*")] == ["tanh 1M", "sort 1M"]
    assert select("*") == CASES
    assert all(isinstance(case, Case) for case in select("mlp"))


def test_verdicts() -> None:
    line, held = judge("tanh 1M", "float32", {"fgrad": (0.62, 0.60), "jax": (1.0, 1.0)}, None)
    assert (line, held) == ("0.62 / 0.60 (goal 0.75)", True)
    assert judge("tanh 1M", "float32", {"fgrad": (0.62, 0.76), "jax": (1.0, 1.0)}, None)[1] is False
    assert judge("tanh 1M", "float32", {"fgrad": (0.62, 0.76)}, None)[1] is None
    assert judge("MLP 64-32-10, batch 32, SGD", "float32", {"fgrad": (0.3, 0.6), "jax": (1.0, 1.0)}, None)[1] is True
    small = {"fgrad": (4e-6, 4e-6), "jax": (5e-6, 5e-6)}
    assert judge("pytree of 20 arrays", "float32", small, None) == ("0.80 / 0.80, 4.00 us (goal 0.6 or 4.5 us)", True)
    large = {"fgrad": (0.9, 0.9), "jax": (1.0, 1.0)}
    assert judge("MLP 784-512-512-10, batch 128, SGD", "float32", large, 0.5)[1] is False
    assert judge("MLP 784-512-512-10, batch 128, SGD", "float32", large, 0.8)[1] is True
    slower = {"fgrad": (0.1, 0.1), "jax": (1.0, 1.0), "torch": (0.05, 0.2)}
    assert judge("LeNet, batch 128, SGD", "float32", slower, None)[1] is False
    assert judge("matmul 1024", "float32", large, 0.5) == ("", None)
    assert Goal(0.3, 0.6, limit=2.0, beats=("torch",)).text == "0.3 / 0.6, 2 x GEMM limit, faster than torch"


def test_verdicts_of_first_calls() -> None:
    assert judge_first("tanh 1M", 0.09, 0.01) == ("9, 90 ms (goal 0.5 or 100 ms)", True)
    assert judge_first("tanh 1M", 0.4, 0.8) == ("0.5, 400 ms (goal 0.5 or 100 ms)", True)
    assert not judge_first("tanh 1M", 0.41, 0.8)[1]
    assert judge_first("1000 residual layers of 32, SGD", 2.0, None) == ("2000 ms (goal 1500 ms)", False)
    unrolled = "50 unrolled steps of sin and roll, gradient, 16"
    assert judge_first(unrolled, 0.1, 10.0) == ("0.01, 100 ms (goal 0.015)", True)
    assert not judge_first(unrolled, 0.1, None)[1]
    assert all(find(name) for name in FIRST)
    assert (warm_goal(0.3), warm_goal(1.1)) == (0.5, 0.2)
    assert geometric_mean([0.5, 2.0, 1.0]) == pytest.approx(1.0)
    assert math.isclose(geometric_mean([0.25]), 0.25)


@pytest.mark.parametrize("kind", ["first", "memory"])
def test_fresh_process(kind: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "fresh.py"), kind, "fgrad", "2*x+y of 10", "float32"],
        capture_output=True,
        text=True,
        check=True,
        env={"FGRAD_CACHE_DIR": str(tmp_path), "PATH": ""},
    )
    assert done.stdout.startswith('{"import": ' if kind == "first" else '{"peak": ')


def measured(fgrad, jax, case="tanh 1M"):
    """What compare.py writes about a case in steady state."""
    times = {"fgrad": {"median": fgrad, "best": fgrad}, "jax": {"median": jax, "best": jax}}
    row = {"case": case, "dtype": "float32", "times": times, "refused": {}, "products": None, "limit": None}
    return {part: [] for part in PARTS} | {"machine": "a machine", "libraries": ["fgrad", "jax"], "steady": [row]}


def test_of_several_measurements_the_last_counts():
    parts = [measured(1e-3, 1e-3), measured(1e-6, 1e-5, "scalar x*x+1"), measured(1e-4, 1e-3)]
    text = report(merged(parts), markdown=False)
    assert "tanh 1M, f32: 0.10 / 0.10 (goal 0.75) ok" in text
    assert text.index("tanh 1M, f32") < text.index("scalar x*x+1, f32: 0.10 / 0.10 (goal 0.35) ok")
    assert "MISSED" not in text and "MISSED" in report(merged(parts[:2]), markdown=False)


def test_tables_go_between_their_marks(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{START}\nold\n{END}\nbehind\n")
    into(page, "new")
    assert page.read_text() == f"before\n{START}\n\nnew\n\n{END}\nbehind\n"
    page.write_text("nothing")
    with pytest.raises(SystemExit, match="has no lines"):
        into(page, "new")
