"""The libraries compared: how each compiles a case, takes its arguments and waits for the result."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from .case import Case, leaves, map_leaves

Call = Callable[[], Any]
Bind = Callable[[tuple[Any, ...]], Call]


def _bound(f: Callable[..., Any]) -> Bind:
    """Calls of a function that takes ndarrays and returns when it is done."""
    return lambda args: lambda: f(*args)


def _fgrad(case: Case, dtype: str) -> Bind:
    fgrad = importlib.import_module("fgrad")
    return _bound(fgrad.jit(case.program(fgrad)))


def _numpy(case: Case, dtype: str) -> Bind:
    return _bound(case.numpy)


def _jax(case: Case, dtype: str) -> Bind:
    jax = importlib.import_module("jax")
    jax.config.update("jax_enable_x64", dtype == "float64")
    f = jax.jit(case.program(jax))
    wait = jax.block_until_ready

    def bind(args: tuple[Any, ...]) -> Call:
        args = wait(jax.device_put(args))

        def call() -> Any:
            out = f(*args)
            # One array waits for itself in 2 us less than `block_until_ready` takes for a tree of one.
            return wait(out) if type(out) in (tuple, list, dict) else out.block_until_ready()

        return call

    return bind


def _torch(case: Case, dtype: str) -> Bind | None:
    if case.torch is None:
        return None
    torch = importlib.import_module("torch")
    f = case.torch(torch)

    def put(a: np.ndarray) -> Any:
        return torch.from_numpy(np.array(a, np.int64 if a.dtype.kind == "i" else a.dtype))

    return lambda args: _bound(f)(map_leaves(put, args))


def _autograd(case: Case, dtype: str) -> Bind | None:
    return _bound(case.program(autograd_as_jax())) if case.autograd else None


def autograd_as_jax() -> SimpleNamespace:
    """autograd under the names by which the programs call JAX and fgrad; it has no `jit` and no `vmap`."""
    autograd = importlib.import_module("autograd")
    xp = importlib.import_module("autograd.numpy")
    special = importlib.import_module("autograd.scipy.special")

    def log_softmax(x: Any) -> Any:
        shifted = x - xp.max(x, axis=-1, keepdims=True)
        return shifted - xp.log(xp.sum(xp.exp(shifted), axis=-1, keepdims=True))

    nn = SimpleNamespace(
        relu=lambda x: xp.maximum(x, 0.0),
        log_softmax=log_softmax,
        one_hot=lambda labels, n, dtype: np.eye(n, dtype=dtype)[labels],
    )
    return SimpleNamespace(
        numpy=xp,
        grad=lambda f, argnums=0: autograd.grad(f, argnums),
        value_and_grad=autograd.value_and_grad,
        lax=SimpleNamespace(erf=special.erf),
        nn=nn,
        tree=importlib.import_module("fgrad").tree,
    )


MAKERS: dict[str, Callable[[Case, str], Bind | None]] = {
    "fgrad": _fgrad,
    "jax": _jax,
    "torch": _torch,
    "autograd": _autograd,
    "numpy": _numpy,
}
COMPILED = ("fgrad", "jax")  # those whose first call is worth timing


def version(name: str) -> str | None:
    """The installed version of a library; None where it is missing."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def prepare(name: str, case: Case, dtype: str) -> Bind | None:
    """The case in a library, as a function from arguments to calls; None where the library has no such program.

    The first call compiles, nothing before it does. Arguments become JAX's and PyTorch's own arrays when they are
    bound; a call returns when its results are there.
    """
    return MAKERS[name](case, dtype)


def as_numpy(result: Any) -> list[np.ndarray]:
    """A library's results as ndarrays."""
    return [np.asarray(leaf.detach() if hasattr(leaf, "detach") else leaf) for leaf in leaves(result)]
