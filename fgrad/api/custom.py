"""custom_jvp and custom_vjp: functions with derivative rules of the user's."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Sequence
from functools import update_wrapper
from typing import Any

from ..core import tree
from ..core.builder import sharing, trace
from ..core.errors import GradError, ShapeError, TreeError, message
from ..core.ir import Jaxpr, Var
from ..core.leaves import checked, described, name_of
from ..core.primitive import Region
from ..core.trace import Tracer, signature
from ..core.types import ShapedArray, aval_of
from ..passes.transpose import zeros
from ..regions.custom import Later
from ..regions.custom import custom_jvp as jvp_region
from ..regions.custom import custom_vjp as vjp_region


class _UnderWay(threading.local):
    """The functions whose rules this thread is tracing."""

    functions: tuple[Any, ...] = ()


_under_way = _UnderWay()


class _CustomRule:
    """What both kinds share: nondifferentiable arguments, when no rule is needed, and rules that call the function."""

    kind: str
    region: Region
    rule_params: tuple[str, ...]
    _check_rules: Callable[[], None]
    _programs: Callable[[Sequence[Any], Any, Sequence[Any]], tuple[list[Any], Any, Any]]

    def __init__(
        self, fun: Callable[..., Any], nondiff_argnums: Sequence[int] = (), nondiff_argnames: Sequence[str] = ()
    ):
        self.fun = fun
        nums = (nondiff_argnums,) if isinstance(nondiff_argnums, int) else tuple(nondiff_argnums)
        try:
            names = list(inspect.signature(fun).parameters)
        except (TypeError, ValueError):
            names = []
        self.nondiff = tuple(sorted({*nums, *[names.index(n) for n in nondiff_argnames]}))
        update_wrapper(self, fun, updated=())

    def __get__(self, obj: Any, cls: Any = None) -> Any:
        return self if obj is None else lambda *args, **kwargs: self(obj, *args, **kwargs)

    def _split(self, args: Any, kwargs: Any) -> tuple[tuple[Any, ...], list[Any]]:
        """Nondifferentiable and differentiable positional arguments; keyword arguments find their positions."""
        if kwargs:
            bound = inspect.signature(self.fun).bind(*args, **kwargs)
            bound.apply_defaults()
            if bound.kwargs:
                raise GradError(
                    message(
                        f"{self.kind} {name_of(self.fun)}: keyword-only arguments have no rule",
                        got=list(bound.kwargs),
                        do="pass them by position",
                    )
                )
            args = bound.args
        for i in self.nondiff:
            if i < len(args) and type(args[i]) is Tracer:
                raise GradError(
                    message(
                        f"{self.kind} {name_of(self.fun)}: argument {i} is in nondiff_argnums, but it is traced",
                        got=args[i].aval,
                        do="take it out of nondiff_argnums and give it a zero derivative in the rule",
                    )
                )
        fixed = tuple(args[i] for i in self.nondiff if i < len(args))
        return fixed, [a for i, a in enumerate(args) if i not in self.nondiff]

    def _whole(self, fixed: Sequence[Any], moving: Sequence[Any]) -> list[Any]:
        args: list[Any] = list(moving)
        for i, a in zip(self.nondiff, fixed, strict=False):
            args.insert(i, a)
        return args

    def _same(self, other: Any) -> bool:
        """Whether the rules of `other` are taken to call this function again, so that its own wait until needed."""
        return other is self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        fixed, moving = self._split(args, kwargs)
        leaves, treedef = tree.flatten(tuple(moving))
        leaves = checked(leaves, treedef, f"{self.kind} {name_of(self.fun)}: the argument", settling=False)
        if not any(type(x) is Tracer for x in leaves):
            return self.fun(*args, **kwargs)
        self._check_rules()
        make = self._postponed if any(self._same(f) for f in _under_way.functions) else self._programs
        captured, params, out_tree = make(fixed, treedef, [signature(x) for x in leaves])
        out = self.region(*captured, *leaves, **params)
        return tree.unflatten(out_tree, [out] if len(params["jaxpr"].outputs) == 1 else list(out))

    def _primal(self, fixed: Sequence[Any], treedef: Any, sigs: Sequence[Any]) -> tuple[Jaxpr, Any]:
        """The function as a program, and the structure of its result."""
        box: list[Any] = []

        def primal(*xs: Any) -> list[Any]:
            outs, structure = tree.flatten(self.fun(*self._whole(fixed, tree.unflatten(treedef, xs))))
            box.append(structure)
            return checked(outs, structure, f"{self.kind} {name_of(self.fun)}: the result")

        return self._trace(primal, sigs), box[0]

    def _trace(self, f: Callable[..., Any], sigs: Sequence[Any]) -> Jaxpr:
        return trace(f, sigs, f"{self.kind} {name_of(self.fun)}")[0]

    def _trace_rule(self, f: Callable[..., Any], sigs: Sequence[Any]) -> Jaxpr:
        before = _under_way.functions
        _under_way.functions = (*before, self)
        try:
            return self._trace(f, sigs)
        finally:
            _under_way.functions = before

    def _postponed(self, fixed: Sequence[Any], treedef: Any, sigs: Sequence[Any]) -> tuple[list[Any], Any, Any]:
        """As `_programs` for a call in a rule of this function: rules once more, when a derivative needs them."""
        jaxpr, out_tree = self._primal(fixed, treedef, sigs)
        later = Later(lambda: self._programs(fixed, treedef, sigs)[:2])
        params = {"jaxpr": jaxpr.closed(), **dict.fromkeys(self.rule_params, later), "captured": len(jaxpr.consts)}
        return list(jaxpr.consts), {**params, "name": name_of(self.fun)}, out_tree


class custom_jvp(_CustomRule):
    """A function with its own forward derivative, from which the reverse one follows.

    nondiff_argnums: arguments that are no arrays (functions, options), given to the rule first. Set the rule with
    `defjvp(rule)`: `rule(*nondiff, primals, tangents) -> (value, tangent)`, linear in the tangents; or with
    `defjvps(*rules)`, one `rule(tangent, value, *primals)` per argument (None: no derivative).

    Errors: `GradError` where no rule is set, or where a traced value is closed over or is in nondiff_argnums.

    >>> import fgrad
    >>> f = custom_jvp(lambda x: x * abs(x))
    >>> f.defjvps(lambda t, y, x: 2 * abs(x) * t)
    >>> fgrad.grad(f)(-3.0)
    np.float64(6.0)
    """

    kind = "custom_jvp"
    region = jvp_region
    rule_params = ("rule",)
    rule: Callable[..., Any] | None = None

    def defjvp(self, jvp: Callable[..., Any], symbolic_zeros: bool = False) -> Callable[..., Any]:
        """Set the rule; usable as a decorator. Absent tangents come as zeros, whatever `symbolic_zeros` says."""
        self.rule = jvp
        return jvp

    def defjvps(self, *jvps: Callable[..., Any] | None) -> None:
        """Set one rule per argument; their tangents are added."""

        def rule(primals: Any, tangents: Any) -> Any:
            value = self(*primals)
            parts = [f(t, value, *primals) for f, t in zip(jvps, tangents, strict=True) if f is not None]
            total = parts[0] if parts else tree.map(lambda v: v * 0, value)
            for part in parts[1:]:
                total = tree.map(lambda a, b: a + b, total, part)
            return value, total

        self.rule = rule

    def _check_rules(self) -> None:
        if self.rule is None:
            raise GradError(message(f"custom_jvp {name_of(self.fun)} has no rule", do="set one with defjvp or defjvps"))

    def _programs(self, fixed: Sequence[Any], treedef: Any, sigs: Sequence[Any]) -> tuple[list[Any], Any, Any]:
        """Captured values, params of the region, and structure of the result."""
        jaxpr, out_tree = self._primal(fixed, treedef, sigs)
        types = [aval_of(s) for s in sigs]
        out_types = jaxpr.out_types

        def ruled(*flat: Any) -> list[Any]:
            given = iter(flat[len(types) :])
            tangents = [next(given) if t.inexact else x for t, x in zip(types, flat, strict=False)]
            out = self.rule(*fixed, tree.unflatten(treedef, flat[: len(types)]), tree.unflatten(treedef, tangents))  # type: ignore[misc]
            if not (isinstance(out, tuple | list) and len(out) == 2):
                raise GradError(
                    message(
                        f"the rule of custom_jvp {name_of(self.fun)} must return (value, tangent)",
                        got=described(out),
                        do="return a pair",
                    )
                )
            values = self._leaves(out[0], out_tree, out_types, "value")
            found = self._leaves(out[1], out_tree, out_types, "tangent")
            return [*values, *[u for u, t in zip(found, out_types, strict=True) if t.inexact]]

        rule = self._trace_rule(ruled, [*sigs, *[t for t in types if t.inexact]])
        (jaxpr, rule), captured = sharing([jaxpr, rule])
        params = {"jaxpr": jaxpr, "rule": rule, "captured": len(captured), "name": name_of(self.fun)}
        return captured, params, out_tree

    def _leaves(self, value: Any, treedef: Any, types: Sequence[ShapedArray], what: str) -> list[Any]:
        return matched(value, treedef, types, f"the rule of custom_jvp {name_of(self.fun)}: the {what}")


def matched(value: Any, treedef: Any, types: Sequence[ShapedArray], what: str) -> list[Any]:
    """Leaves of what a rule returned, checked against the structure and shapes that it must have."""
    leaves, got = tree.flatten(value)
    if got != treedef:
        raise TreeError(
            message(
                f"{what} has another structure than expected",
                got=tree.explain_mismatch(treedef, value),
                do="return the same structure",
            )
        )
    leaves = checked(leaves, got, what)
    for x, t in zip(leaves, types, strict=True):
        aval = aval_of(signature(x))
        if aval.shape != t.shape:
            raise ShapeError(
                message(f"{what} has another shape than expected ({t})", got=aval, do="return an array of that shape")
            )
    return [_as_type(x, t) for x, t in zip(leaves, types, strict=True)]


def _as_type(x: Any, t: ShapedArray) -> Any:
    if not t.inexact or aval_of(signature(x)).dtype == t.dtype:
        return x
    return x.astype(t.dtype) if hasattr(x, "astype") else t.dtype.type(x)


class custom_vjp(_CustomRule):
    """A function with its own reverse derivative; forward mode is the transpose of the rule, if the rule is linear.

    nondiff_argnums: arguments that are no arrays, given to `bwd` first. Set the rules with `defvjp(fwd, bwd)`:
    `fwd(*args) -> (value, residuals)` (any pytree) and `bwd(*nondiff, residuals, ct) -> tuple of cotangents`, one per
    differentiable argument, None for zero. The rules are traced: Python sees abstract values in them.

    Errors: `GradError` where rules are missing or return no tuple of the right length, or where a traced value is
    closed over; `LinearityError` in forward mode through a rule that is not linear in its cotangent.

    >>> import fgrad
    >>> f = custom_vjp(lambda x: x * 3.0)
    >>> f.defvjp(lambda x: (x * 3.0, None), lambda res, ct: (ct * 5.0,))
    >>> fgrad.grad(f)(1.0)
    np.float64(5.0)
    """

    kind = "custom_vjp"
    region = vjp_region
    rule_params = ("fwd", "bwd")
    rules: tuple[Callable[..., Any], Callable[..., Any]] | None = None

    def defvjp(
        self,
        fwd: Callable[..., Any],
        bwd: Callable[..., Any],
        symbolic_zeros: bool = False,
        optimize_remat: bool = False,
    ) -> None:
        """Set the forward and the backward rule; absent cotangents come as zeros, whatever `symbolic_zeros` says."""
        self.rules = (fwd, bwd)

    def _check_rules(self) -> None:
        if self.rules is None:
            raise GradError(
                message(f"custom_vjp {name_of(self.fun)} has no rules", do="set them with defvjp(fwd, bwd)")
            )

    def _programs(self, fixed: Sequence[Any], treedef: Any, sigs: Sequence[Any]) -> tuple[list[Any], Any, Any]:
        """Captured values, params of the region, and structure of the result."""
        fwd, bwd = self.rules  # type: ignore[misc]
        types = [aval_of(s) for s in sigs]
        moving = tree.unflatten(treedef, types)
        box: dict[str, Any] = {}
        jaxpr, out_tree = self._primal(fixed, treedef, sigs)
        out_types = jaxpr.out_types

        def forward(*xs: Any) -> list[Any]:
            out = fwd(*self._whole(fixed, tree.unflatten(treedef, xs)))
            if not (isinstance(out, tuple | list) and len(out) == 2):
                raise GradError(
                    message(
                        f"fwd of custom_vjp {name_of(self.fun)} must return (value, residuals)",
                        got=described(out),
                        do="return a pair",
                    )
                )
            values = matched(out[0], out_tree, out_types, f"fwd of custom_vjp {name_of(self.fun)}: the value")
            # residuals that are no arrays (options, None) are kept as they are
            rest, box["residuals"] = tree.flatten(out[1])
            return [*values, *checked(rest, box["residuals"], f"fwd of custom_vjp {name_of(self.fun)}: the residual")]

        ahead = self._trace_rule(forward, sigs)
        residual_types = ahead.out_types[len(out_types) :]
        count = len(residual_types)

        def backward(*flat: Any) -> list[Any]:
            given = iter(flat[count:])
            cts = [next(given) if t.inexact else zeros(t) for t in out_types]
            found = bwd(*fixed, tree.unflatten(box["residuals"], flat[:count]), tree.unflatten(out_tree, cts))
            return self._cotangents(found, moving, types)

        back = self._trace_rule(backward, [*residual_types, *[t for t in out_types if t.inexact]])
        (jaxpr, ahead), captured = sharing([jaxpr, ahead])
        if back.consts:
            ahead, back, captured, jaxpr = _residual_consts(ahead, back, captured, jaxpr)
        params = {"jaxpr": jaxpr, "fwd": ahead, "bwd": back, "captured": len(captured), "name": name_of(self.fun)}
        return captured, params, out_tree

    def _cotangents(self, found: Any, moving: Sequence[Any], types: Sequence[ShapedArray]) -> list[Any]:
        who = f"bwd of custom_vjp {name_of(self.fun)}"
        if not isinstance(found, tuple | list) or len(found) != len(moving):
            raise GradError(
                message(
                    f"{who} must return a tuple of {len(moving)} cotangents",
                    got=described(found),
                    do="return one entry per differentiable argument, None for zero",
                )
            )
        out: list[Any] = []
        k = 0
        for i, (c, a) in enumerate(zip(found, moving, strict=True)):
            structure = tree.structure(a)
            n = structure.num_leaves
            mine = types[k : k + n]
            k += n
            if c is None:
                out += [zeros(t) for t in mine if t.inexact]
                continue
            leaves = (
                matched(c, structure, mine, f"{who}: the cotangent of argument {i}")
                if any(t.inexact for t in mine)
                else []
            )
            out += [x for x, t in zip(leaves, mine, strict=False) if t.inexact]
        return out


def _residual_consts(
    ahead: Jaxpr, back: Jaxpr, captured: list[Any], jaxpr: Jaxpr
) -> tuple[Jaxpr, Jaxpr, list[Any], Jaxpr]:
    """Values that bwd captured become captured operands, and residuals of fwd."""
    values = list({id(c): c for c in (*captured, *back.consts)}.values())
    old = len(captured)
    extra = [Var(aval_of(signature(c))) for c in values[old:]]
    place = {id(c): v for c, v in zip(values, [*ahead.inputs[:old], *extra], strict=True)}
    inputs = [*ahead.inputs[:old], *extra, *ahead.inputs[old:]]
    n = len(jaxpr.outputs)
    rest = ahead.outputs[n:]
    new_ahead = Jaxpr(
        inputs, ahead.eqns, [*ahead.outputs[:n], *[place[id(c)] for c in back.consts], *rest], (), ahead.sites
    )
    more = [Var(v.type) for v in extra]
    new_jaxpr = Jaxpr([*jaxpr.inputs[:old], *more, *jaxpr.inputs[old:]], jaxpr.eqns, jaxpr.outputs, (), jaxpr.sites)
    return new_ahead, back.closed(), values, new_jaxpr
