"""Loads and stores in the lanes of a vector loop: neighbours as vectors, masked or not, other places one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .llvm_lanes import Text
from .llvm_ops import lane_indices, lane_list, memory_type, register_type
from .nests import Buffer, Store, Value
from .scalars import size_of


class Memory(Text):
    """Text with loads and stores."""

    # ------------------------------------------------------------------------------------------------------ addresses

    def address(self, buffer: Buffer, index: str, hint: str) -> str:
        base = f"%{buffer.name}"
        if buffer.mode == "records":
            base = self.put(f"load ptr, ptr {base}, align 8", "records")
        if index == "0":
            return base
        return self.put(f"getelementptr {memory_type(buffer.type)}, ptr {base}, i64 {index}", f"{hint}.at")

    def nowhere(self) -> str:
        """Memory that masked lanes read and write instead of the buffer."""
        if "nowhere" not in self.used:
            self.put("alloca i64, align 8", "nowhere", self.entry)
        return "%nowhere"

    def unmasked(self, at: str, mask: str, lane: int, count: int) -> str:
        """The address for a lane, or `nowhere`."""
        if count > 1:
            mask = self.put(f"extractelement <{count} x i1> {mask}, i64 {lane}", "holds")
        return self.put(f"select i1 {mask}, ptr {at}, ptr {self.nowhere()}", "at")

    def lane_addresses(
        self, buffer: Buffer, index: Value, mask: str | None, hint: str, backwards: bool = False
    ) -> Iterator[tuple[int, str]]:
        """Each lane, and where it finds its element."""
        assert self.lanes is not None
        count = self.lanes.count
        affine = self.affines.get(index)
        start = self.address(buffer, affine.base, hint) if affine else ""
        T = memory_type(buffer.type)
        for lane in range(count)[:: -1 if backwards else 1]:
            if affine:
                step = self.integer("mul", str(affine.stride), self.offset(lane), hint="step")
                at = start if step == "0" else self.put(f"getelementptr {T}, ptr {start}, i64 {step}", f"{hint}.at")
            elif index in self.vectors:
                number = self.put(f"extractelement <{count} x i64> {self.vectors[index]}, i64 {lane}", "number")
                at = self.address(buffer, number, hint)
            else:
                at = self.address(buffer, self.scalars[index], hint)
            yield lane, at if mask is None else self.unmasked(at, mask, lane, count)

    def contiguous(self, index: Value, masked: bool, type: str) -> str | None:
        """The index of the first lane, if the lanes are neighbours in memory and there is an instruction for them."""
        affine = self.affines.get(index)
        if affine is None or affine.stride != 1:
            return None
        masked = masked or (self.lanes is not None and self.lanes.rest is not None)
        return None if masked and (size_of(type) < 4 or self.vector_bytes < 32) else affine.base

    # ---------------------------------------------------------------------------------------------------------- loads

    def load(self, v: Value) -> None:
        buffer, index, hint = v.payload, v.args[0], self.hints[v]
        mask, other = v.args[1:] if len(v.args) > 1 else (None, None)
        count = self.lanes.count if self.lanes else 1
        T, size = memory_type(buffer.type), size_of(buffer.type)

        def put(text: str) -> str:
            return self.put(text, hint)

        if not self.varies(index) and not (mask and self.varies(mask)):
            at = self.address(buffer, self.scalars[index], hint)
            if mask:
                at = self.unmasked(at, self.scalars[mask], 0, 1)
            name = self.from_memory(put(f"load {T}, ptr {at}, align {size}"), buffer.type, 1, hint)
            varies = other is not None and self.varies(other)
            if mask and other:
                V = register_type(v.type, count if varies else 1)
                name = self.splat(name, v.type) if varies else name
                instead = self.vector(other) if varies else self.scalars[other]
                name = put(f"select i1 {self.scalars[mask]}, {V} {name}, {V} {instead}")
            self.define(v, name, varies)
            return
        V, M = f"<{count} x {T}>", f"<{count} x i1>"
        first = self.contiguous(index, mask is not None, buffer.type)
        affine = self.affines.get(index)
        full = self.lanes is not None and self.lanes.rest is None
        if first is not None and mask is None and full:
            name = put(f"load {V}, ptr {self.address(buffer, first, hint)}, align {size}")
        elif first is not None:
            at = self.address(buffer, first, hint)
            wanted = None if mask is None else self.vector(mask)
            name = self.masked_load(at, wanted, None if other is None else self.vector(other), buffer.type, put)
            self.define(v, name, True)
            return
        elif affine is not None and affine.stride == -1 and mask is None and full:
            first = self.integer("sub", affine.base, str(count - 1))
            name = put(f"load {V}, ptr {self.address(buffer, first, hint)}, align {size}")
            name = put(f"shufflevector {V} {name}, {V} poison, {lane_indices(count - 1, count, -1)}")
        elif affine is not None and affine.stride in (2, 3) and mask is None and full and size >= 4 and count >= 4:
            name = self.spaced(self.address(buffer, affine.base, hint), affine.stride, V, T, size, put)
        else:
            name, wanted = "poison", None if mask is None else self.vector(mask)
            for lane, at in self.lane_addresses(buffer, index, wanted, hint):
                one = put(f"load {T}, ptr {at}, align {size}")
                name = put(f"insertelement {V} {name}, {T} {one}, i64 {lane}")
        name = self.from_memory(name, buffer.type, count, hint)
        if mask is not None and other is not None:
            R = register_type(v.type, count)
            name = put(f"select {M} {self.vector(mask)}, {R} {name}, {R} {self.vector(other)}")
        self.define(v, name, True)

    def spaced(self, at: str, stride: int, V: str, T: str, size: int, put: Callable[[str], str]) -> str:
        """Every second or third element, from whole vectors of which the last one ends with the last element wanted."""
        assert self.lanes is not None
        count = self.lanes.count
        result = ""
        for part in range(stride):
            first = min(part * count, (count - 1) * stride + 1 - count)
            there = put(f"getelementptr {T}, ptr {at}, i64 {first}") if first else at
            vector = put(f"load {V}, ptr {there}, align {size}")
            places = [stride * lane - first for lane in range(count)]
            if not result:
                taken = [place if place < count else -1 for place in places]
                result = put(f"shufflevector {V} {vector}, {V} poison, {lane_list(taken)}")
            else:
                taken = [lane if place < 0 else count + place for lane, place in enumerate(places)]
                taken = [place if place < 2 * count else -1 for place in taken]
                result = put(f"shufflevector {V} {result}, {V} {vector}, {lane_list(taken)}")
        return result

    def masked_load(self, at: str, mask: str | None, other: str | None, type: str, put: Callable[[str], str]) -> str:
        """Neighbours in memory under a mask, that of the last vector included."""
        assert self.lanes is not None
        count, wanted = self.lanes.count, self.mask()
        T, V, M = register_type(type, 1), register_type(type, count), f"<{count} x i1>"
        load = f"call {V} @llvm.masked.load.v{count}{type.replace('u', 'i')}.p0(ptr align {size_of(type)} {at}, {M} "
        faithful = self.lanes.faithful
        if mask is None and not faithful:
            return put(f"{load}{wanted}, {V} zeroinitializer)")
        if mask is None:
            there = put(f"getelementptr {T}, ptr {at}, i64 {self.offset(count - 1)}")
            repeated = self.splat(put(f"load {T}, ptr {there}, align {size_of(type)}"), type)
            return put(f"{load}{wanted}, {V} {repeated})")
        if wanted is None:
            return put(f"{load}{mask}, {V} {other})")
        both = put(f"and {M} {mask}, {wanted}")
        loaded = put(f"{load}{both}, {V} {other})")
        if not faithful:
            return loaded
        repeated = self.splat(put(f"extractelement {V} {loaded}, i64 {self.offset(count - 1)}"), type)
        return put(f"select {M} {wanted}, {V} {loaded}, {V} {repeated}")

    def from_memory(self, name: str, type: str, count: int, hint: str) -> str:
        if type != "bool":
            return name
        return self.put(f"icmp ne {register_type('u8', count)} {name}, zeroinitializer", hint)

    # --------------------------------------------------------------------------------------------------------- stores

    def store(self, statement: Store) -> None:
        buffer, index, mask = statement.buffer, statement.index, statement.mask
        varies = self.varies(index) or (mask is not None and self.varies(mask))
        count = self.lanes.count if self.lanes and (varies or self.varies(statement.value)) else 1
        T, size = memory_type(buffer.type), size_of(buffer.type)
        value = self.vector(statement.value) if count > 1 else self.scalars[statement.value]
        if buffer.type == "bool":
            value = self.put(f"zext {register_type('bool', count)} {value} to {register_type('u8', count)}", "byte")
        V = register_type("u8" if buffer.type == "bool" else buffer.type, count)
        if not varies:
            if count > 1:  # all lanes write to one place: the last one stays
                value = self.put(f"extractelement {V} {value}, i64 {count - 1}", "last")
            at = self.address(buffer, self.scalars[index], buffer.name)
            if mask is not None:
                at = self.unmasked(at, self.scalars[mask], 0, 1)
            self.do(f"store {T} {value}, ptr {at}, align {size}")
            return
        assert self.lanes is not None
        first = self.contiguous(index, mask is not None, buffer.type)
        affine = self.affines.get(index)
        full = self.lanes.rest is None
        lanes_mask = None if mask is None else self.vector(mask)
        if first is not None and mask is None and full:
            self.do(f"store {V} {value}, ptr {self.address(buffer, first, buffer.name)}, align {size}")
        elif first is not None:
            M, holds = f"<{count} x i1>", [m for m in (lanes_mask, self.mask()) if m]
            both = holds[0] if len(holds) == 1 else self.put(f"and {M} {holds[0]}, {holds[1]}", "both")
            at = self.address(buffer, first, buffer.name)
            suffix = f"v{count}{buffer.type.replace('u', 'i')}"
            self.do(f"call void @llvm.masked.store.{suffix}.p0({V} {value}, ptr align {size} {at}, {M} {both})")
        elif affine is not None and affine.stride == -1 and mask is None and full:
            first = self.integer("sub", affine.base, str(count - 1))
            value = self.put(f"shufflevector {V} {value}, {V} poison, {lane_indices(count - 1, count, -1)}", "turned")
            self.do(f"store {V} {value}, ptr {self.address(buffer, first, buffer.name)}, align {size}")
        else:
            # Backwards: of the lanes at the place of the last iteration, that iteration itself writes last.
            for lane, at in self.lane_addresses(buffer, index, lanes_mask, buffer.name, backwards=not full):
                one = self.put(f"extractelement {V} {value}, i64 {lane}", "one")
                self.do(f"store {T} {one}, ptr {at}, align {size}")
