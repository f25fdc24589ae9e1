"""Random loop programs, valid by construction: the subject of the differential test of emission."""

from __future__ import annotations

from random import Random

from gradc.ir.dims import Dim, product, size
from gradc.ir.loop_builder import LoopBuilder
from gradc.ir.loops import Buffer, Kernel, Program, Ref
from gradc.ir.types import ArrayType, DType, bool_, f32, f64, i32, i64

SIZES = ("n", "m", "q")
_NUMBERS = (f64, f32, i64, i32)


def random_program(random: Random) -> Program:
    """A program of one kernel: a random nest of loops with lanes, copies, reductions and stores."""
    return _Fuzz(random).program()


class _Fuzz:
    def __init__(self, random: Random) -> None:
        self.random, self.k = random, LoopBuilder()
        lengths = (size("n"), size("m") + 3, 5)
        arrays = (random.choice((*_NUMBERS, bool_))[random.choice(lengths)] for _ in range(3))
        kinds = (*arrays, f64[()], bool_[()])
        self.inputs = tuple(Buffer(f"x{i}", kind, "input") for i, kind in enumerate(kinds))
        self.outputs: list[Buffer] = []
        self.lanes_used = False

    def program(self) -> Program:
        for _ in range(self.random.randint(1, 2)):
            self.lanes_used = False
            self.nest((), self.random.randint(1, 3))
        kernel = Kernel("fuzz", self.k.body)
        return Program("fuzz", SIZES, self.inputs, tuple(self.outputs), (kernel,))

    def nest(self, around: tuple[tuple[Ref, Dim], ...], levels: int) -> None:
        """One loop with what is in it, and stores of its reductions after it."""
        random, k = self.random, self.k
        extent = random.choice([*map(size, SIZES), size("n") + 1, 1, 2, 3, 7, 8, 21])
        lanes = 1 if self.lanes_used else random.choice([1, 2, 4, 8])
        self.lanes_used = self.lanes_used or lanes > 1
        start = k.index(random.choice([0, 0, 0, 2])) if extent not in (1, 2) else k.index(0)
        copies = random.choice([1, 1, 2, 3, 4])
        reduced = []
        with k.loop(k.size(extent), start, lanes=lanes, copies=copies) as variable:
            inside = (*around, (variable, extent))
            values = [self.value(inside) for _ in range(random.randint(1, 3))]
            if levels > 1:
                self.nest(inside, levels - 1)
                values.append(self.value(inside))
            for value in values:
                if random.random() < 0.6:
                    self.put(inside, value)
                kinds = ("and", "or") if value.dtype is bool_ else ("add", "min", "max")
                kind = random.choice(
                    (*kinds, "bits") if value.dtype is bool_ and isinstance(extent, int) else kinds
                )
                first = self.value(around) if random.random() < 0.3 else None
                if first is not None:
                    first = k.cast(first, i64 if kind == "bits" else value.dtype)
                reduced.append(k.reduce(kind, value, first))
        self.lanes_used = self.lanes_used and lanes == 1
        for result in reduced:
            self.put(around, result)

    def put(self, around: tuple[tuple[Ref, Dim], ...], value: Ref) -> None:
        """Store (or add) a value at an index of its own for each iteration."""
        random, k = self.random, self.k
        adds = random.random() < 0.4 and value.dtype is not bool_
        axes = list(around)
        if adds:  # over some loops the index does not vary
            axes = [axis for axis in axes if random.random() < 0.6]
        random.shuffle(axes)
        stride, extents = random.choice([1, 1, 2]), [extent for _, extent in axes]
        buffer = Buffer(
            f"y{len(self.outputs)}", ArrayType(value.dtype, (*extents, stride)), "output"
        )
        self.outputs.append(buffer)
        index = k.index(0)
        for position, (variable, extent) in enumerate(axes):
            if random.random() < 0.2:  # downwards
                variable = k.sub(k.sub(k.size(extent), k.index(1)), variable)
            index = k.add(index, k.mul(variable, k.size(product(extents[position + 1 :]) * stride)))
        mode = "add" if adds else "set"
        if random.random() < 0.3:
            with k.masked(self.condition(around)):
                k.store(buffer, index, value, mode)
        else:
            k.store(buffer, index, value, mode)

    def condition(self, around: tuple[tuple[Ref, Dim], ...]) -> Ref:
        k, at = self.k, self.number(around)
        return k.compare(self.random.choice(["lt", "ge", "ne"]), k.mod(at, k.index(5)), k.index(2))

    def number(self, around: tuple[tuple[Ref, Dim], ...]) -> Ref:
        """An affine integer of the loop variables around."""
        k, total = self.k, self.k.index(self.random.randint(-3, 9))
        for variable, _ in around:
            factor = self.random.choice([0, 1, 1, -1, 2, size("m")])
            total = k.add(total, k.mul(variable, k.size(factor)))
        return total

    def value(self, around: tuple[tuple[Ref, Dim], ...], depth: int = 0) -> Ref:
        random, k = self.random, self.k
        if depth > 2 or random.random() < 0.35:
            return self.leaf(around)
        a = self.value(around, depth + 1)
        if a.dtype is bool_:
            return self.of_bool(around, a, depth)
        choice = random.randrange(7)
        if choice == 0:
            return k.cast(a, random.choice(_NUMBERS if not a.dtype.is_float else (f64, f32)))
        if choice == 1:
            return k.unary(random.choice(["neg", "abs"]), a)
        b = self.value(around, depth + 1)
        b = b if b.dtype is a.dtype else self.narrow(b, a.dtype)
        if choice == 2:
            return k.compare(random.choice(["eq", "ne", "lt", "le", "gt", "ge"]), a, b)
        if choice == 3 and not a.dtype.is_float:
            return random.choice([k.floordiv, k.mod])(a, b)
        if choice == 4:
            return k.binary(random.choice(["min", "max"]), a, b)
        return random.choice([k.add, k.sub, k.mul, k.term])(self.small(a), self.small(b))

    def small(self, a: Ref) -> Ref:
        """Values stay small integers, so that floating-point sums are exact."""
        low, high = self.k.const(-4, a.dtype), self.k.const(5, a.dtype)
        return self.k.binary("min", self.k.binary("max", a, low), high)

    def narrow(self, a: Ref, dtype: DType) -> Ref:
        return self.k.cast(a, dtype)

    def of_bool(self, around: tuple[tuple[Ref, Dim], ...], a: Ref, depth: int) -> Ref:
        random, k = self.random, self.k
        choice = random.randrange(4)
        if choice == 0:
            return k.unary("not", a)
        if choice == 1:
            return k.cast(a, random.choice(_NUMBERS))
        b = self.value(around, depth + 1)
        if choice == 2:
            flag = k.cast(b, bool_)
            return k.binary(random.choice(["and", "or", "xor"]), a, flag)
        c = self.value(around, depth + 1)
        return k.select(a, b, c if c.dtype is b.dtype else k.cast(c, b.dtype))

    def leaf(self, around: tuple[tuple[Ref, Dim], ...]) -> Ref:
        random, k = self.random, self.k
        if random.random() < 0.15:
            return k.const(random.randint(-3, 4), random.choice(_NUMBERS))
        if random.random() < 0.15 and around:
            return random.choice(around)[0]
        buffer = random.choice(self.inputs)
        if not buffer.type.shape:
            return k.load(buffer, k.index(0))
        length = k.size(buffer.type.shape[0])
        if random.random() < 0.3:  # anywhere: a gather
            offset = k.mod(self.number(around), length)
            inside = k.compare("gt", length, k.index(0))
            return k.guard(inside, lambda: k.load(buffer, offset), k.const(1, buffer.type.dtype))
        at = self.number(around)
        inside = k.binary("and", k.compare("ge", at, k.index(0)), k.compare("lt", at, length))
        return k.guard(inside, lambda: k.load(buffer, at), k.const(1, buffer.type.dtype))
