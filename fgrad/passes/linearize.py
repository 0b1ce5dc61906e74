"""linearize: a trace that runs the primal at once and keeps, per Call, what the derivative needs.

`Tape` is both eager reverse mode and the linearize pass: on concrete values it is a tape of NumPy calls, on values of
an outer trace its operations are emitted there. An entry is (rule, slots of the active operands, saved values, slots of
the outputs); a walk applies the rules' push forwards or their pull backwards. Since these are Calls, a gradient of a
gradient is the same machine run on what the first tape made.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from ..core.builder import restored_site, same_bytes, trace
from ..core.calls import Call
from ..core.effects import KEPT
from ..core.errors import Site, user_site
from ..core.handles import ARGUMENT, fresh, settled, untouched, written
from ..core.ir import Jaxpr
from ..core.primitive import space
from ..core.trace import Trace, Tracer, apply, apply_staged, levels, state, unrecorded
from ..core.types import aval_of
from .interpret import interpret, strict_values
from .quiet import quietly
from .rules import Rule, rule_of
from .snapshots import LOCK_FROM, lock, locked, unlock
from .transpose import Linear, transpose, zeros


class RegionEntry:
    """Derivative of one application of a region: a linear program and its residuals."""

    __slots__ = ("linear", "out_active")

    def __init__(self, linear: Jaxpr, out_active: tuple[int, ...]):
        self.linear = linear
        self.out_active = out_active


class Tape(Trace):
    """Reverse mode, and linearization, of whatever runs on its tracers."""

    concrete = True

    def __init__(self, name: str = "grad", *, outlives: bool = False):
        self.level = next(levels)
        self.done = False
        self.name = name
        self.outlives = outlives  # the tape is walked after the call, when the user may have written into his arrays
        self.entries: list[tuple[Any, Sequence[int], Sequence[Any], Any]] = []
        self.count = 0
        self.nested = False
        self.kept = False  # whether the way back has effects that must not happen twice
        self.locked: list[np.ndarray] = []
        self.snapshots: dict[int, tuple[Any, np.ndarray]] = {}
        self.sites: dict[int, Site | None] = {}  # of entries on traced values, by their first output: the user's line

    def input(self, x: Any, sig: Any) -> Tracer:
        """A tracer of the value `x`, which is active."""
        if type(x) is np.ndarray:
            x = self.own(x)
        elif type(x) is Tracer:
            self.nested = True
            x = fresh(x)
        slot = self.count
        self.count = slot + 1
        new = Tracer(self, sig, x, slot)
        new.origin = ARGUMENT
        return new

    def own(self, x: np.ndarray) -> np.ndarray:
        """`x` such that later writes to the user's array do not change it."""
        if x.base is None:
            if x.nbytes >= LOCK_FROM and not self.outlives:
                if lock(x):
                    self.locked.append(x)
                return x
            if not x.flags.writeable and not locked(x):
                return x
        seen = self.snapshots.get(id(x))
        if seen is not None and same_bytes(seen[1], x):
            return seen[1]
        kept = x.copy()
        self.snapshots[id(x)] = (x, kept)
        return kept

    def close(self) -> None:
        """End of recording: tracers are dead from here, and locked arrays are the user's again."""
        self.end()
        if self.locked:
            for x in self.locked:
                unlock(x)
            self.locked.clear()
        self.snapshots = {}

    def apply(self, call: Call, xs: Sequence[Any]) -> Any:
        mask, bit = 0, 1
        slots, values = [], []
        nested = self.nested
        for x in xs:
            if type(x) is Tracer:
                if x.owner is self:
                    mask |= bit
                    slots.append(x.slot)
                    values.append(x.value)
                else:
                    nested = True
                    values.append(fresh(x))  # the handle may be written while this is saved
            else:
                values.append(x)
            bit <<= 1
        if call.primitive is not None and call.primitive.region:
            return self._apply_region(call, mask, slots, values)
        rule = call.rules.get(mask) or rule_of(call, mask)
        out = apply(call, values) if nested else rule.run(*values)
        if not rule.out_active:
            return _fresh(out, values)
        if call.single:
            values.append(out)
            if type(out) is Tracer:
                self._nest()
        else:
            values.extend(out)
            if any(type(y) is Tracer for y in out):
                self._nest()
        saved = rule.pick(values)
        if rule.copy:
            saved = self._owned(rule, saved)
        slot = self.count
        if call.single:
            self.entries.append((rule, slots, saved, slot))
            self.count = slot + 1
            return Tracer(self, call.out_sigs[0], out, slot)
        outs, out_slots = list(out), []
        for k in rule.out_active:
            outs[k] = Tracer(self, call.out_sigs[k], out[k], slot)
            out_slots.append(slot)
            slot += 1
        self.count = slot
        self.entries.append((rule, slots, saved, tuple(out_slots)))
        return tuple(outs)

    def _nest(self) -> None:
        self.nested = True
        self.sites[self.count] = user_site() if state.site is None else state.site

    def apply1(self, call: Call, x: Any) -> Any:
        if self.nested or not call.single or x.owner is not self:
            return self.apply(call, (x,))
        rule = call.rules.get(1) or rule_of(call, 1)
        value = x.value
        out = rule.run(value)
        if not rule.out_active:
            return _fresh(out, (value,))
        slot = self.count
        self.entries.append((rule, (x.slot,), rule.pick((value, out)) if rule.save else (), slot))
        self.count = slot + 1
        return Tracer(self, call.out_sigs[0], out, slot)

    def apply2(self, call: Call, x: Any, y: Any) -> Any:
        if self.nested or not call.single:
            return self.apply(call, (x, y))
        slots: tuple[int, ...]
        if type(x) is Tracer and x.owner is self:
            v = x.value
            if type(y) is Tracer:
                if y.owner is not self:
                    return self.apply(call, (x, y))
                w, mask, slots = y.value, 3, (x.slot, y.slot)
            else:
                w, mask, slots = y, 1, (x.slot,)
        elif type(x) is Tracer or y.owner is not self:
            return self.apply(call, (x, y))
        else:
            v, w, mask, slots = x, y.value, 2, (y.slot,)
        rule = call.rules.get(mask) or rule_of(call, mask)
        out = rule.run(v, w)
        if not rule.out_active:
            return _fresh(out, (v, w))
        saved: Sequence[Any] = ()
        if rule.save:
            saved = rule.pick((v, w, out))
            if rule.copy:
                saved = self._owned(rule, saved)
        slot = self.count
        self.entries.append((rule, slots, saved, slot))
        self.count = slot + 1
        return Tracer(self, call.out_sigs[0], out, slot)

    def overwrite(self, call: Call, x: Tracer, rest: Sequence[Any]) -> bool:
        if type(x.value) is not np.ndarray:
            return False
        mask, bit = 1, 2
        slots, values = [x.slot], [None]
        for r in rest:
            if type(r) is Tracer:
                if r.owner is self:
                    mask |= bit
                    slots.append(r.slot)
                    r = r.value
                else:
                    r = settled(r)
                if type(r) is Tracer:
                    return False
            values.append(r)
            bit <<= 1
        rule = call.rules.get(mask) or rule_of(call, mask)
        if rule.out_active != (0,) or any([i == 0 or i >= len(values) for i in rule.save]):
            return False
        x.value = written(x, call, values[1:])
        saved = rule.pick(values)
        if rule.copy:
            saved = self._owned(rule, saved)
        x.slot = self.count
        self.entries.append((rule, slots, saved, x.slot))
        self.count += 1
        return True

    def _owned(self, rule: Rule, saved: Sequence[Any]) -> Sequence[Any]:
        """Saved values of which the user's own arrays are snapshots."""
        if len(saved) == 1:
            return (self.own(saved[0]),) if type(saved[0]) is np.ndarray else saved
        for k in rule.copy:
            if type(saved[k]) is np.ndarray:
                saved = [*saved[:k], self.own(saved[k]), *saved[k + 1 :]]
        return saved

    def _apply_region(self, call: Call, mask: int, slots: list[int], values: list[Any]) -> Any:
        region: Any = call.primitive
        types = [aval_of(s) for s in call.sigs]
        values = strict_values(values, types)
        active = [bool(mask >> i & 1) and t.inexact for i, t in enumerate(types)]
        if state.builder is None or call.effects or Tracer in map(type, values):
            outs, residuals, out_active, linear = region.linearize(active, *values, **call.params)
        else:
            outs, residuals, out_active, linear = unrecorded(region.linearize, active, *values, **call.params)
        outs = list(outs)
        if any(type(y) is Tracer for y in [*outs, *residuals]):
            self._nest()
        indices = tuple(i for i, a in enumerate(active) if a)
        flags = [bool(mask >> i & 1) for i in range(len(types))]
        slot_of = dict(zip([i for i, f in enumerate(flags) if f], slots, strict=True))
        out_indices = tuple(k for k, a in enumerate(out_active) if a)
        entry = RegionEntry(linear, out_indices)
        out_slots = []
        outs = [y if a else untouched(y) for y, a in zip(outs, out_active, strict=True)]
        for k in out_indices:
            outs[k] = Tracer(self, call.out_sigs[k], outs[k], self.count)
            out_slots.append(self.count)
            self.count += 1
        if out_slots:
            self.kept = self.kept or bool(linear.effects & KEPT)
            owned = [self.own(r) if type(r) is np.ndarray else r for r in residuals]
            self.entries.append((entry, [slot_of[i] for i in indices], owned, tuple(out_slots)))
        return outs[0] if call.single else tuple(outs)

    # ------------------------------------------------------------------------------------------------------- backwards

    def pull(self, seeds: Sequence[tuple[int, Any]], wanted: Sequence[int]) -> list[Any]:
        """Cotangents of the slots `wanted`, from the cotangents of some output slots. None where nothing flows.

        On concrete values plain products are tried first; only if a result holds a NaN is the tape walked again with
        products in which an exact zero annihilates an infinity.
        """
        if self.nested or any([type(ct) is Tracer for _, ct in seeds]):
            traced: list[Any] = quietly(self._pull_traced, seeds, wanted)
            return traced
        if self.kept:
            return quietly(self._pull_concrete, seeds, wanted, False)  # type: ignore[no-any-return]
        walk = quietly if state.builder is None else partial(unrecorded, quietly)
        result: list[Any] = walk(self._pull_concrete, seeds, wanted, True)
        if any([_has_nan(ct) for ct in result]):
            result = walk(self._pull_concrete, seeds, wanted, False)
        return result

    def _pull_concrete(self, seeds: Sequence[tuple[int, Any]], wanted: Sequence[int], optimistic: bool) -> list[Any]:
        cts: list[Any] = [None] * self.count
        owned = bytearray(self.count)
        for slot, ct in seeds:
            cts[slot] = ct if cts[slot] is None else cts[slot] + ct
        for rule, slots, saved, out in reversed(self.entries):
            if type(out) is int:
                ct = cts[out]
                if ct is None:
                    continue
                cts[out] = None
                function = rule.function if optimistic else None
                if function is not None:
                    if rule.adding is not None:
                        (s,) = slots
                        acc = cts[s]
                        if acc is None:
                            (cts[s],) = function(*saved, ct)
                        else:
                            (cts[s],) = rule.adding(*saved, ct, acc if owned[s] else np.array(acc))
                        owned[s] = True
                        continue
                    results, targets, fresh = function(*saved, ct), slots, rule.fresh
                    if len(slots) == 1 and cts[slots[0]] is None:
                        cts[slots[0]] = results[0]
                        owned[slots[0]] = fresh[0]
                        continue
                else:
                    if rule.consumes and not owned[out]:
                        ct = np.array(ct)
                    results, targets, fresh = self._pull_one(rule, slots, saved, ct, cts, owned, optimistic)
            else:
                given = {k: cts[s] for k, s in zip(rule.out_active, out, strict=True) if cts[s] is not None}
                if not given:
                    continue
                for s in out:
                    cts[s] = None
                if type(rule) is RegionEntry:
                    results, targets = _pull_region(rule, saved, given), slots
                    fresh = (False,) * len(results)
                else:
                    present, values = tuple(given), list(given.values())
                    results, targets, fresh = self._pull_into(
                        rule, slots, saved, values, present, cts, owned, optimistic
                    )
            for s, r, new in zip(targets, results, fresh):  # noqa: B905  (strict= costs as much as the loop)
                old = cts[s]
                if old is None:
                    cts[s] = r
                    owned[s] = new
                elif r is None:
                    pass
                elif type(old) is np.ndarray and old.size > 1024 and (owned[s] or new):
                    buffer = old if owned[s] else r
                    np.add(old, r, out=buffer)
                    cts[s] = buffer
                    owned[s] = True
                else:
                    cts[s] = old + r
                    owned[s] = True
        return [cts[s] for s in wanted]

    def _pull_one(
        self,
        rule: Rule,
        slots: Sequence[int],
        saved: Sequence[Any],
        ct: Any,
        cts: list[Any],
        owned: bytearray,
        optimistic: bool,
    ) -> tuple[Sequence[Any], Sequence[int], Sequence[bool]]:
        """Pull a call with one output; what is the same each time is remembered on the rule."""
        if rule.accumulates:
            if optimistic and len(slots) == 1:
                rule.adding = rule.pull_function((0,), (0,), True).function
                rule.function = rule.pull_function((0,), (), True).function
            return self._pull_into(rule, slots, saved, [ct], (0,), cts, owned, optimistic)
        f = rule.pull_function((0,), (), optimistic, rule.consumes)
        if len(f.present) < len(slots):
            return f.function(*saved, ct), [slots[k] for k in f.present], f.fresh
        if optimistic and not rule.consumes:
            rule.function, rule.fresh = f.function, f.fresh
        return f.function(*saved, ct), slots, f.fresh

    def _pull_into(
        self,
        rule: Rule,
        slots: Sequence[int],
        saved: Sequence[Any],
        given: Sequence[Any],
        present: tuple[int, ...],
        cts: list[Any],
        owned: bytearray,
        optimistic: bool,
    ) -> tuple[Sequence[Any], Sequence[int], Sequence[bool]]:
        """Pull with accumulators: those that are there are handed over, made ours first where they are not."""
        accs = tuple(k for k in rule.accumulates if cts[slots[k]] is not None and list(slots).count(slots[k]) == 1)
        buffers = []
        for k in accs:
            s = slots[k]
            if not owned[s]:
                cts[s] = np.array(cts[s])
                owned[s] = True
            buffers.append(cts[s])
        f = rule.pull_function(present, accs, optimistic)
        results = list(f.function(*saved, *given, *buffers))
        for place, k in enumerate(f.present):
            if k in accs:
                cts[slots[k]] = results[place]
                results[place] = None
        return results, [slots[k] for k in f.present], f.fresh

    @restored_site()
    def _pull_traced(self, seeds: Sequence[tuple[int, Any]], wanted: Sequence[int]) -> list[Any]:
        cts: dict[int, Any] = {}
        before = state.site

        def put(slot: int, ct: Any) -> None:
            cts[slot] = space.add(cts[slot], ct) if slot in cts else ct

        for slot, ct in seeds:
            put(slot, ct)
        keep = set(wanted)
        for rule, slots, saved, out in reversed(self.entries):
            outs = (out,) if type(out) is int else out
            present = tuple(k for k, s in zip(rule.out_active, outs, strict=True) if s in cts)
            if not present:
                continue
            state.site = self.sites.get(outs[0], before)
            given = [cts[s] if s in keep else cts.pop(s) for s in outs if s in cts]
            if type(rule) is RegionEntry:
                for s, r in zip(slots, _pull_region(rule, saved, dict(zip(present, given, strict=True))), strict=True):
                    if r is not None:
                        put(s, r)
                continue
            accs = tuple(k for k in rule.accumulates if slots[k] in cts and list(slots).count(slots[k]) == 1)
            call = rule.pull(present, accs)
            results = apply_staged(call, [*saved, *given, *[cts.pop(slots[k]) for k in accs]])
            for k, r in zip(call.derived["present"], results, strict=True):
                put(slots[k], r)
        return [cts.get(s) for s in wanted]

    # -------------------------------------------------------------------------------------------------------- forwards

    @restored_site()
    def push(self, tangents: dict[int, Any], wanted: Sequence[int | None]) -> list[Any]:
        """Tangents of the slots `wanted`, from tangents of input slots. None where nothing flows."""
        ts = dict(tangents)
        before = state.site
        for rule, slots, saved, out in self.entries:
            given = [ts.get(s) for s in slots]
            if all(t is None for t in given):
                continue
            outs = (out,) if type(out) is int else out
            state.site = self.sites.get(outs[0], before)
            if type(rule) is RegionEntry:
                consts = len(saved)
                types = [v.type for v in rule.linear.inputs[consts:]]
            else:
                types = [aval_of(rule.call.sigs[i]) for i in rule.active]
            filled = [zeros(t) if g is None else g for g, t in zip(given, types, strict=True)]
            if type(rule) is RegionEntry:
                results = interpret(rule.linear, [*saved, *filled])
            else:
                results = apply(rule.push(), [*saved, *filled])
            ts.update(zip(outs, results, strict=True))
        return [None if s is None else ts.get(s) for s in wanted]


def _pull_region(entry: RegionEntry, residuals: Sequence[Any], cts: dict[int, Any]) -> list[Any]:
    types = [v.type for v in entry.linear.inputs[len(residuals) :]]
    found = transpose(
        entry.linear,
        [*residuals, *[Linear(t) for t in types]],
        [None] * (len(residuals) + len(types)),
        [cts.get(k) for k in entry.out_active],
    )[len(residuals) :]
    # a backward rule may hand a residual on as it is
    held = {id(r) for r in residuals if type(r) is np.ndarray}
    return [ct.copy() if id(ct) in held else ct for ct in found]


def _has_nan(x: Any) -> bool:
    if type(x) is np.ndarray and x.ndim:
        if not x.size:
            return False
        flat = x if x.ndim == 1 else x.ravel("K")
        x = flat.item(flat.argmax())  # the first NaN, if there is one; found without arithmetic, which may overflow
    return bool(x != x)


def _fresh(out: Any, values: Sequence[Any]) -> Any:
    """A result that is no longer traced, and so the user's: never a view of somebody's buffer."""
    if type(out) is tuple:
        return tuple([_fresh(y, values) for y in out])
    if type(out) is np.ndarray and (out.base is not None or any(out is v for v in values)):
        return out.copy()
    return untouched(out)


def linear_parts(jaxpr: Jaxpr, active: Sequence[bool]) -> tuple[Jaxpr, Jaxpr, int, tuple[bool, ...]]:
    """Split a closed program at its derivative in the active inputs.

    Returns (primal: inputs -> outputs and residuals; linear: residuals, active tangents -> tangents of the active
    outputs; number of residuals; which outputs are active). Every residual is an output of the primal program.
    """
    box: dict[str, Any] = {}

    def primal(*xs: Any) -> list[Any]:
        tape = Tape("linearize")
        inside = [tape.input(x, x.sig) if a else x for x, a in zip(xs, active, strict=True)]
        outs = interpret(jaxpr, inside)
        tape.close()
        outs = [settled(y) if type(y) is Tracer else y for y in outs]
        slots = [y.slot if type(y) is Tracer and y.owner is tape else None for y in outs]
        values = [y.value if s is not None else y for y, s in zip(outs, slots, strict=True)]

        def linear(*ts: Any) -> list[Any]:
            inputs = {t.slot: u for t, u in zip([t for t, a in zip(inside, active, strict=True) if a], ts, strict=True)}
            pushed = tape.push(inputs, slots)
            box["active"] = tuple(t is not None for t in pushed)
            return [t for t in pushed if t is not None]

        types = [v.type for v, a in zip(jaxpr.inputs, active, strict=True) if a]
        program, _ = trace(linear, types, "linearize", takes_all=False, sites=False)
        box["linear"] = program.closed()
        box["residuals"] = len(program.consts)
        return [*values, *program.consts]

    program, _ = trace(primal, [v.type for v in jaxpr.inputs], "linearize", sites=False)
    return program, box["linear"], box["residuals"], box["active"]
