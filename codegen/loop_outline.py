"""The loops of a kernel, outermost first: over what, which is a vector, how many side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field

from gradc.ir.dims import Dim
from gradc.ir.loops import Finish, For, If, Instruction, Kernel, MatMul, Ref, Statement
from gradc.ir.record import dataclass


def outline(kernel: Kernel) -> Iterator[str]:
    """One line a loop and matrix product, indented by depth."""
    made: dict[Ref, Instruction] = {}
    _collect(kernel.body, made)
    yield from _outline(kernel.body, _Scope(made), "")


@dataclass(frozen=True, slots=True)
class _Scope:
    """What defines each scalar, and the words for the lengths that are no expression of sizes."""

    made: Mapping[Ref, Instruction]
    words: Mapping[Ref, str] = field(default_factory=dict)

    def length(self, ref: Ref) -> str:
        dim = self.dim(ref)
        return str(dim) if dim is not None else self.words.get(ref) or self._chosen(ref)

    def dim(self, ref: Ref) -> Dim | None:
        """The value of an index as an expression of the sizes, where it is one."""
        return self._dim(ref, 20)

    def _chosen(self, ref: Ref) -> str:
        """The words for a length that is one of two."""
        found = self.made.get(ref)
        lengths = [self.dim(operand) for operand in found.operands] if found else []
        if found is None or None in lengths[-2:]:
            return "rows of the block"
        if found.op == "select":  # see `tables.py`, and for others `ends.py`
            return f"{lengths[1]}, or none"
        return f"{lengths[0]} at the ends" if found.op == "min" else str(lengths[1])

    def _dim(self, ref: Ref, depth: int) -> Dim | None:
        found = self.made.get(ref)
        if found is None or not depth:
            return None
        if found.op in ("const", "size"):
            return found.value  # type: ignore[return-value]
        operands = [self._dim(operand, depth - 1) for operand in found.operands]
        if len(operands) != 2 or found.op not in ("add", "sub", "mul"):
            return None
        a, b = operands
        if a is None or b is None:
            return None
        return a + b if found.op == "add" else a - b if found.op == "sub" else a * b


def _collect(body: Sequence[Statement], made: dict[Ref, Instruction]) -> None:
    for statement in body:
        if isinstance(statement, Instruction):
            made[statement.result] = statement
        elif isinstance(statement, For | If):
            _collect(statement.body, made)


def _outline(body: Sequence[Statement], scope: _Scope, indent: str) -> Iterator[str]:
    for statement in body:
        if isinstance(statement, For):
            yield f"{indent}{_loop(statement, scope)}"
            yield from _outline(statement.body, scope, f"{indent}  ")
        elif isinstance(statement, If):
            yield from _outline(statement.body, scope, indent)
        elif isinstance(statement, MatMul):
            yield f"{indent}{_product(statement, scope)}"
            if statement.finish is not None:
                yield from _finish(statement.finish, scope, f"{indent}  ")


def _finish(finish: Finish, scope: _Scope, indent: str) -> Iterator[str]:
    """The loops over the entries of a part of a product."""
    made = dict(scope.made)
    _collect(finish.body, made)
    words = {finish.rows: "rows of a part", finish.columns: "columns of a part"}
    yield from _outline(finish.body, _Scope(made, words), indent)


def _loop(loop: For, scope: _Scope) -> str:
    text, start = scope.length(loop.stop), scope.dim(loop.start)
    if loop.bits is not None:
        return f"those of {text} where the term is not zero"
    if start not in (0, None):
        text = f"{start} to {text}"
    if loop.step != 1:
        text = f"{text} in blocks of {loop.step}"
    if loop.lanes > 1:
        text = f"{text}, vectors of {loop.lanes}"
    if loop.copies > 1:
        text = f"{text}, {loop.copies} side by side"
    return text


def _product(product: MatMul, scope: _Scope) -> str:
    m, n, k = (scope.length(ref) for ref in (product.m, product.n, product.k))
    batch = scope.length(product.batch)
    many = "" if batch == "1" else f"{batch} times "
    half = ", of which one half is computed" if product.half else ""
    return f"{many}matrix product of {m} x {k} by {k} x {n}{half}"
