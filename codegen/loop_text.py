"""Writing LLVM text with nested loops: fresh names, counted loops, carried values, conditions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import field

from gradc.ir.record import dataclass


@dataclass(slots=True)
class Carried:
    """The values that a loop carries: inside it `values` are replaced; after it they are the last
    ones.
    """

    values: list[str]


@dataclass(slots=True)
class LoopText:
    """The body of one function as it grows; operands are texts: `%name` or a number."""

    lines: list[str] = field(default_factory=list)
    block: str = "entry"
    count: int = 0

    def fresh(self, stem: str) -> str:
        self.count += 1
        return f"{stem}{self.count}"

    def emit(self, instruction: str) -> str:
        """Append an instruction with a result; its name."""
        name = f"%{self.fresh('v')}"
        self.lines.append(f"  {name} = {instruction}")
        return name

    def do(self, instruction: str) -> None:
        """Append an instruction without a result."""
        self.lines.append(f"  {instruction}")

    def start_block(self, label: str) -> None:
        self.lines.append(f"{label}:")
        self.block = label

    def add(self, a: str | int, b: str | int) -> str:
        return self.emit(f"add i64 {a}, {b}")

    def sub(self, a: str | int, b: str | int) -> str:
        return self.emit(f"sub i64 {a}, {b}")

    def mul(self, a: str | int, b: str | int) -> str:
        return self.emit(f"mul i64 {a}, {b}")

    def is_less(self, a: str | int, b: str | int) -> str:
        return self.emit(f"icmp slt i64 {a}, {b}")

    def is_equal(self, a: str | int, b: str | int) -> str:
        return self.emit(f"icmp eq i64 {a}, {b}")

    def minimum(self, a: str | int, b: str | int) -> str:
        return self.select("i64", self.is_less(a, b), a, b)

    def select(self, kind: str, condition: str, yes: str | int, no: str | int) -> str:
        return self.emit(f"select i1 {condition}, {kind} {yes}, {kind} {no}")

    def address(self, element: str, base: str, *offsets: str | int) -> str:
        """base + the sum of the offsets, in elements."""
        for offset in offsets:
            base = self.emit(f"getelementptr {element}, ptr {base}, i64 {offset}")
        return base

    def call(self, symbol: str, parameters: str, *values: str | int) -> None:
        """Call a function of these parameters, written as in its definition."""
        kinds = [parameter.split()[0] for parameter in parameters.split(", ")]
        arguments = (f"{kind} {value}" for kind, value in zip(kinds, values, strict=True))
        self.do(f"call void {symbol}({', '.join(arguments)})")

    def negation(self, condition: str) -> str:
        return self.emit(f"xor i1 {condition}, true")

    def both(self, a: str, b: str) -> str:
        return self.emit(f"and i1 {a}, {b}")

    def either(self, a: str, b: str) -> str:
        return self.emit(f"or i1 {a}, {b}")

    @contextmanager
    def loop(
        self,
        start: str | int,
        stop: str | int,
        step: str | int,
        kind: str = "",
        carried: Carried | None = None,
    ) -> Iterator[str]:
        """i = start, start + step, ... while i < stop; `carried` values have the type `kind`."""
        label, before = self.fresh("loop"), self.block
        first = list(carried.values) if carried else []
        self.do(f"br label %{label}")
        self.start_block(label)
        index, phis = f"%{label}.i", [f"%{label}.c{i}" for i in range(len(first))]
        place = len(self.lines)
        self.lines += [""] * (1 + len(phis))
        self.do(f"%{label}.more = icmp slt i64 {index}, {stop}")
        self.do(f"br i1 %{label}.more, label %{label}.body, label %{label}.end")
        self.start_block(f"{label}.body")
        if carried:
            carried.values = list(phis)
        yield index
        self.do(f"%{label}.next = add i64 {index}, {step}")
        self.do(f"br label %{label}")
        self.lines[place] = (
            f"  {index} = phi i64 [{start}, %{before}], [%{label}.next, %{self.block}]"
        )
        for i, (phi, initial) in enumerate(zip(phis, first, strict=True)):
            last = carried.values[i] if carried else ""
            self.lines[place + 1 + i] = (
                f"  {phi} = phi {kind} [{initial}, %{before}], [{last}, %{self.block}]"
            )
        if carried:
            carried.values = list(phis)
        self.start_block(f"{label}.end")

    @contextmanager
    def when(
        self, condition: str, kind: str = "", carried: Carried | None = None
    ) -> Iterator[None]:
        """The instructions inside run if the condition holds; they may replace `carried` values."""
        label, before = self.fresh("when"), self.block
        first = list(carried.values) if carried else []
        self.do(f"br i1 {condition}, label %{label}, label %{label}.end")
        self.start_block(label)
        yield
        inside = self.block
        self.do(f"br label %{label}.end")
        self.start_block(f"{label}.end")
        if carried:
            carried.values = [
                self.emit(f"phi {kind} [{old}, %{before}], [{new}, %{inside}]")
                for old, new in zip(first, carried.values, strict=True)
            ]

    @contextmanager
    def unless(self, condition: str) -> Iterator[None]:
        """The instructions inside run if the condition does not hold."""
        with self.when(self.negation(condition)):
            yield

    def function(self, head: str) -> str:
        """`define <head> { ... ret void }`."""
        return "\n".join([f"define {head} {{", "entry:", *self.lines, "  ret void", "}", ""])
