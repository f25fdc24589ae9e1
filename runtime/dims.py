"""Dimensions as the runtime sees them: text such as "2*n + 1", compiled to small postfix programs.

The grammar is that of the manifest: integers, size names, `+ - * //` (rounding down) and
parentheses. A program is a tuple of (operation, operand) pairs; csrc/plan.c runs the same programs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeAlias

Program: TypeAlias = "tuple[tuple[int, int], ...]"

PUSH, SIZE, ADD, SUB, MUL, FLOORDIV, NEG = range(7)
MAX_STACK = 32

_TOKEN = re.compile(r"\s*(?:(\d+)|([A-Za-z_][A-Za-z0-9_]*)|(//|[-+*()]))")
_OPERATIONS = {"+": ADD, "-": SUB, "*": MUL, "//": FLOORDIV}
_INT64 = range(-(2**63), 2**63)


def compile_dim(dim: int | str, sizes: Sequence[str]) -> Program:
    """The program of a dimension over `sizes`; ValueError says what cannot be read."""
    if isinstance(dim, int):
        return ((PUSH, dim),)
    parser = _Parser(dim, sizes)
    program = tuple(parser.parse())
    if _stack_depth(program) > MAX_STACK:
        raise ValueError(f"the dimension {dim!r} is nested too deeply")
    return program


def evaluate(program: Program, sizes: Sequence[int]) -> int | None:
    """The dimension's value, or None where it divides by zero or leaves 64 bits, as in C."""
    stack: list[int] = []
    for operation, operand in program:
        if operation in (PUSH, SIZE):
            stack.append(operand if operation == PUSH else sizes[operand])
            continue
        if operation == NEG:
            stack.append(-stack.pop())
        else:
            b, a = stack.pop(), stack.pop()
            if operation == FLOORDIV and b == 0:
                return None
            stack.append(_apply(operation, a, b))
        if stack[-1] not in _INT64:
            return None
    return stack[0]


def sizes_read(program: Program) -> frozenset[int]:
    """The positions of the sizes that the program reads."""
    return frozenset(operand for operation, operand in program if operation == SIZE)


def is_linear(program: Program, size: int) -> bool:
    """Whether the dimension is a*size + b, where a and b do not read `size`."""
    stack: list[int] = []  # degrees in `size`; 2 stands for "not linear"
    for operation, operand in program:
        if operation in (PUSH, SIZE):
            stack.append(int(operation == SIZE and operand == size))
        elif operation != NEG:
            b, a = stack.pop(), stack.pop()
            if operation in (ADD, SUB):
                stack.append(max(a, b))
            elif operation == MUL:
                stack.append(min(a + b, 2))
            else:
                stack.append(2 if a or b else 0)
    return stack[0] == 1


def _apply(operation: int, a: int, b: int) -> int:
    if operation == ADD:
        return a + b
    if operation == SUB:
        return a - b
    return a * b if operation == MUL else a // b


def _stack_depth(program: Program) -> int:
    depth = deepest = 0
    for operation, _ in program:
        depth += 1 if operation in (PUSH, SIZE) else 0 if operation == NEG else -1
        deepest = max(deepest, depth)
    return deepest


class _Parser:
    """Recursive descent over one dimension's text, at most MAX_STACK parentheses deep."""

    def __init__(self, text: str, sizes: Sequence[str]) -> None:
        self.text, self.sizes, self.code = text, sizes, list[tuple[int, int]]()
        self.tokens: list[str] = []
        position, end = 0, len(text.rstrip())
        while position < end:
            match = _TOKEN.match(text, position)
            if match is None:
                raise self.error(text[position:])
            self.tokens.append(match.group().strip())
            position = match.end()
        self.tokens.reverse()

    def error(self, at: str) -> ValueError:
        return ValueError(f"cannot read the dimension {self.text!r} at {at!r}")

    def parse(self) -> list[tuple[int, int]]:
        self.sum(0)
        if self.tokens:
            raise self.error(self.tokens[-1])
        return self.code

    def next_is(self, *tokens: str) -> bool:
        return bool(self.tokens) and self.tokens[-1] in tokens

    def sum(self, depth: int) -> None:
        is_negative = self.next_is("-")
        if is_negative:
            self.tokens.pop()
        self.product(depth)
        if is_negative:
            self.code.append((NEG, 0))
        while self.next_is("+", "-"):
            operation = _OPERATIONS[self.tokens.pop()]
            self.product(depth)
            self.code.append((operation, 0))

    def product(self, depth: int) -> None:
        self.atom(depth)
        while self.next_is("*", "//"):
            operation = _OPERATIONS[self.tokens.pop()]
            self.atom(depth)
            self.code.append((operation, 0))

    def atom(self, depth: int) -> None:
        if not self.tokens or depth > MAX_STACK:
            raise self.error("the end" if not self.tokens else self.tokens[-1])
        token = self.tokens.pop()
        if token == "(":
            self.sum(depth + 1)
            if not self.next_is(")"):
                raise ValueError(f"a parenthesis is not closed in the dimension {self.text!r}")
            self.tokens.pop()
        elif token.isdigit():
            if int(token) not in _INT64:
                raise ValueError(f"a number in the dimension {self.text!r} exceeds 64 bits")
            self.code.append((PUSH, int(token)))
        elif token in self.sizes:
            self.code.append((SIZE, self.sizes.index(token)))
        elif token.isidentifier():
            raise ValueError(
                f"the dimension {self.text!r} reads {token}, which is not among the sizes "
                f"({', '.join(self.sizes) or 'there are none'})"
            )
        else:
            raise self.error(token)
