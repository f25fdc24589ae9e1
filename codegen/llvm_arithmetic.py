"""The arithmetic instructions of the loop IR, on one scalar or one vector register each.

A product that is a term of a sum is rounded together with it (fma) where the machine can; of two
such terms the second one is. Other products are not. The choice is never LLVM's: a value that two
kernels compute has the same bits in both. Nothing is reassociated, unless the program asks for fast
mathematics.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

from gradc.codegen.llvm_text import Module, Writer, literal, llvm_type, suffix
from gradc.codegen.math_ir import MathFunction
from gradc.codegen.target import Target
from gradc.codegen.vector_math import math_function, result_type
from gradc.ir.types import DType, bool_, i64

_FLOAT = {
    "add": "fadd",
    "sub": "fsub",
    "mul": "fmul",
    "term": "fmul",
    "div": "fdiv",
}
_FAST = {
    "add": "fadd reassoc contract",
    "sub": "fsub reassoc contract",
    "mul": "fmul reassoc contract",
    "term": "fmul reassoc contract",
    "div": "fdiv",
}
_INTEGER = {"add": "add", "sub": "sub", "mul": "mul", "term": "mul"}
_LOGIC = {
    "and": "and",
    "or": "or",
    "xor": "xor",
    "min": "and",
    "max": "or",
    "mul": "and",
    "add": "or",
}
_FLOAT_ORDER = {"eq": "oeq", "ne": "une", "lt": "olt", "le": "ole", "gt": "ogt", "ge": "oge"}
_INTEGER_ORDER = {"eq": "eq", "ne": "ne", "lt": "slt", "le": "sle", "gt": "sgt", "ge": "sge"}
_BOOL_ORDER = {"eq": "eq", "ne": "ne", "lt": "ult", "le": "ule", "gt": "ugt", "ge": "uge"}
_ROUNDING = {
    "floor": "floor", "ceil": "ceil", "trunc": "trunc", "round": "roundeven", "sqrt": "sqrt",
    "abs": "fabs", "copysign": "copysign", "fma": "fma",
}  # fmt: skip


def arithmetic(w: Writer, op: str, dtype: DType, lanes: int, args: Sequence[str]) -> str:
    """`op` on operands that all have the type `dtype`: the result's register."""
    if op in _FLOAT_ORDER:
        return _compare(w, op, dtype, lanes, args)
    if op == "isnan":
        return w.let(f"fcmp uno {llvm_type(dtype, lanes)} {args[0]}, {args[0]}")
    if dtype.kind == "b":
        return _logic(w, op, lanes, args)
    if dtype.is_float:
        return _float(w, op, dtype, lanes, args)
    if op == "bits":
        return w.let(f"or {llvm_type(dtype, lanes)} {args[0]}, {args[1]}")
    return _integer(w, op, dtype, lanes, args)


def select(w: Writer, dtype: DType, lanes: int, condition: str, args: Sequence[str]) -> str:
    """`args[0]` where the condition (with as many lanes) holds, else `args[1]`."""
    kind = llvm_type(dtype, lanes)
    return w.let(
        f"select {llvm_type(bool_, lanes)} {condition}, {kind} {args[0]}, {kind} {args[1]}"
    )


def call(w: Writer, name: str, dtype: DType, lanes: int, args: Sequence[str]) -> str:
    """A mathematical function, whose text joins the module: to be written out, or to be called.

    The result of a joint one is a structure of its results.
    """
    function = _function(name, dtype, lanes, w.module.target)
    if w.is_seldom:
        function = _apart(function)
    _define(w.module, function)
    kind = llvm_type(dtype, lanes)
    given = ", ".join(f"{kind} {a}" for a in args)
    return w.let(f"call {result_type(name, kind)} {function.symbol}({given})")


def _apart(function: MathFunction) -> MathFunction:
    """The function as one that is called where it is needed, under a name of its own."""
    symbol = f"{function.symbol}.apart"
    text = function.text.replace(function.symbol, symbol).replace(" alwaysinline ", " noinline ")
    return replace(function, symbol=symbol, text=text)


@cache
def _function(name: str, dtype: DType, lanes: int, target: Target) -> MathFunction:
    return math_function(
        name,
        dtype,
        lanes,
        fma=target.has_fma,
        table=not target.repeats_numbers,
        wide=target.has_wide_products,
    )


def _define(module: Module, function: MathFunction) -> None:
    """Add a function and all that it calls to the module, once."""
    pending = [function]
    while pending:
        found = pending.pop()
        if found.symbol in module.definitions:
            continue
        module.define_text(found.symbol, "\n".join((*found.declarations, found.text)))
        pending.extend(_function(*key, module.target) for key in found.dependencies)


def cast(w: Writer, source: DType, target: DType, lanes: int, value: str) -> str:
    """A conversion as in C; float to integer saturates, and NaN gives 0."""
    if source is target:
        return value
    kind, result = llvm_type(source, lanes), llvm_type(target, lanes)
    if target is bool_:
        test = "fcmp une" if source.is_float else "icmp ne"
        return w.let(f"{test} {kind} {value}, {literal(0, source, lanes)}")
    if source is bool_:
        one, zero = literal(1, target, lanes), literal(0, target, lanes)
        return select(w, target, lanes, value, (one, zero))
    if source.is_float and not target.is_float:
        name = f"llvm.fptosi.sat.{suffix(target.name, lanes)}.{suffix(source.name, lanes)}"
        return w.intrinsic(name, result, [(kind, value)])
    if target.is_float and not source.is_float:
        return w.let(f"sitofp {kind} {value} to {result}")
    wider = target.itemsize > source.itemsize
    change = (
        ("fpext" if wider else "fptrunc") if source.is_float else ("sext" if wider else "trunc")
    )
    return w.let(f"{change} {kind} {value} to {result}")


def identity(kind: str, dtype: DType) -> object:
    """The number that a reduction starts from."""
    if dtype.kind == "b":
        return kind in ("and", "min", "mul")
    if kind in ("add", "mul", "bits"):
        return int(kind == "mul")
    largest = float("inf") if dtype.is_float else (1 << 8 * dtype.itemsize - 1) - 1
    return largest if kind == "min" else (-largest if dtype.is_float else -largest - 1)


def fold_tree(w: Writer, kind: str, dtype: DType, lanes: int, values: Sequence[str]) -> str:
    """Combine registers pairwise, first half with second half: always in the same order."""
    rest = list(values)
    while len(rest) > 1:
        half = (len(rest) + 1) // 2
        pairs = zip(rest[: len(rest) - half], rest[half:], strict=True)
        rest = [
            *(arithmetic(w, kind, dtype, lanes, pair) for pair in pairs),
            *rest[len(rest) - half : half],
        ]
    return rest[0]


def fold_lanes(w: Writer, kind: str, dtype: DType, lanes: int, value: str) -> str:
    """Combine the lanes of a vector, low half with high half, down to one scalar."""
    return fold_lanes_of(w, kind, dtype, lanes, [value])[0]


def fold_lanes_of(
    w: Writer, kind: str, dtype: DType, lanes: int, vectors: Sequence[str]
) -> list[str]:
    """`fold_lanes` of several vectors: the same sums by fewer instructions, in shared registers."""
    if dtype is bool_:
        name, vector = f"llvm.vector.reduce.{_LOGIC[kind]}.v{lanes}i1", llvm_type(bool_, lanes)
        return [w.intrinsic(name, "i1", [(vector, value)]) for value in vectors]
    results: list[str] = []
    while len(results) < len(vectors):
        rest = vectors[len(results) :]
        count = min(lanes, 1 << (len(rest).bit_length() - 1))
        results.extend(_fold_group(w, kind, dtype, lanes, rest[:count]))
    return results


def _fold_group(
    w: Writer, kind: str, dtype: DType, lanes: int, vectors: Sequence[str]
) -> list[str]:
    """The lanes of a power of two of vectors, each combined.

    At each step a register holds `width` lanes of each of some vectors, one after another; the low
    halves of all of them are combined with the high halves.
    """
    rest, width, vector = list(vectors), lanes, llvm_type(dtype, lanes)
    while len(rest) > 1:
        low = _low_halves(2 * lanes, width)
        high = [lane + width // 2 for lane in low]
        pairs = zip(rest[::2], rest[1::2], strict=True)
        halves = [[shuffle(w, vector, a, half, b) for half in (low, high)] for a, b in pairs]
        rest = [arithmetic(w, kind, dtype, lanes, both) for both in halves]
        width //= 2
    (value,), count = rest, lanes
    while width > 1 and count > 2:
        low, vector = _low_halves(count, width), llvm_type(dtype, count)
        both = [
            shuffle(w, vector, value, [lane + step for lane in low]) for step in (0, width // 2)
        ]
        count, width = count // 2, width // 2
        value = arithmetic(w, kind, dtype, count, both)
    vector = llvm_type(dtype, count)
    scalars = [w.let(f"extractelement {vector} {value}, i64 {i}") for i in range(count)]
    return scalars if width == 1 else [arithmetic(w, kind, dtype, 1, scalars)]


def _low_halves(lanes: int, width: int) -> list[int]:
    """The first half of the lanes of each group of `width`."""
    return [start + lane for start in range(0, lanes, width) for lane in range(width // 2)]


def shuffle(
    w: Writer, vector: str, value: str, order: Sequence[int], second: str = "poison"
) -> str:
    """Some lanes of a vector, or of two, in another order."""
    picks = ", ".join(f"i32 {i}" for i in order)
    places = f"<{len(order)} x i32> <{picks}>"
    return w.let(f"shufflevector {vector} {value}, {vector} {second}, {places}")


def _compare(w: Writer, op: str, dtype: DType, lanes: int, args: Sequence[str]) -> str:
    if dtype.is_float:
        test = f"fcmp {_FLOAT_ORDER[op]}"
    else:
        test = f"icmp {(_BOOL_ORDER if dtype is bool_ else _INTEGER_ORDER)[op]}"
    return w.let(f"{test} {llvm_type(dtype, lanes)} {args[0]}, {args[1]}")


def _logic(w: Writer, op: str, lanes: int, args: Sequence[str]) -> str:
    kind = llvm_type(bool_, lanes)
    if op == "not":
        return w.let(f"xor {kind} {args[0]}, {literal(True, bool_, lanes)}")
    return w.let(f"{_LOGIC[op]} {kind} {args[0]}, {args[1]}")


def _float(w: Writer, op: str, dtype: DType, lanes: int, args: Sequence[str]) -> str:
    kind = llvm_type(dtype, lanes)
    if op in _FLOAT:
        return _sum_or_product(w, op, kind, suffix(dtype.name, lanes), args)
    if op == "neg":
        return w.let(f"fneg {kind} {args[0]}")
    if op in ("min", "max"):  # a NaN wins; which of -0.0 and 0.0 does is left open, as in NumPy
        name = f"llvm.{op}imum.{suffix(dtype.name, lanes)}"
        return w.intrinsic(name, kind, [(kind, a) for a in args], "nsz ")
    if op == "exact_quotient":
        if w.module.target.has_fma:
            return call(w, op, dtype, lanes, args)
        return _float(w, "div", dtype, lanes, args[:2])
    if op in ("floordiv", "mod"):
        return _float_division(w, op, dtype, lanes, args)
    name = f"llvm.{_ROUNDING[op]}.{suffix(dtype.name, lanes)}"
    return w.intrinsic(name, kind, [(kind, a) for a in args])


def _sum_or_product(w: Writer, op: str, kind: str, mangled: str, args: Sequence[str]) -> str:
    """One instruction, also for a sum and a product that it absorbs (`Writer.terms`)."""
    if w.module.fast_math or not w.module.target.has_fma:
        instructions = _FAST if w.module.fast_math else _FLOAT
        return w.let(f"{instructions[op]} {kind} {args[0]}, {args[1]}")
    if op == "term":
        product = w.let(f"fmul {kind} {args[0]}, {args[1]}")
        w.terms[product] = (args[0], args[1])
        return product
    if op not in ("add", "sub") or w.terms.keys().isdisjoint(args):
        return w.let(f"{_FLOAT[op]} {kind} {args[0]}, {args[1]}")
    first, second = args
    if second not in w.terms and op == "add":
        first, second = second, first
    if second in w.terms:
        a, b = w.terms[second]
        a = w.let(f"fneg {kind} {a}") if op == "sub" else a
    else:  # a product less another number
        (a, b), first = w.terms[first], w.let(f"fneg {kind} {second}")
    return w.intrinsic(f"llvm.fma.{mangled}", kind, [(kind, a), (kind, b), (kind, first)])


def _float_division(w: Writer, op: str, dtype: DType, lanes: int, args: Sequence[str]) -> str:
    """`floor(a / b)`, or `a - floor(a / b) * b` rounded once."""
    quotient = _float(w, "div", dtype, lanes, args)
    whole = _float(w, "floor", dtype, lanes, (quotient,))
    if op == "floordiv":
        return whole
    return _float(
        w, "fma", dtype, lanes, (_float(w, "neg", dtype, lanes, (whole,)), args[1], args[0])
    )


def _integer(w: Writer, op: str, dtype: DType, lanes: int, args: Sequence[str]) -> str:
    kind = llvm_type(dtype, lanes)
    if op in _INTEGER:
        if kind == "i64":
            return {"add": w.add, "sub": w.sub}.get(op, w.mul)(*args)
        return w.let(f"{_INTEGER[op]} {kind} {args[0]}, {args[1]}")
    if op == "neg":
        return w.let(f"sub {kind} {literal(0, dtype, lanes)}, {args[0]}")
    if op == "abs":
        name = f"llvm.abs.{suffix(dtype.name, lanes)}"
        return w.intrinsic(name, kind, [(kind, args[0]), ("i1", "false")])
    if op in ("min", "max"):
        name = f"llvm.s{op}.{suffix(dtype.name, lanes)}"
        return w.intrinsic(name, kind, [(kind, a) for a in args])
    if op == "popcount":
        return w.intrinsic(f"llvm.ctpop.{suffix(dtype.name, lanes)}", kind, [(kind, args[0])])
    if op == "fma":
        product = _integer(w, "mul", dtype, lanes, args[:2])
        return _integer(w, "add", dtype, lanes, (product, args[2]))
    return _integer_division(w, op, dtype, lanes, args)


def _integer_division(w: Writer, op: str, dtype: DType, lanes: int, args: Sequence[str]) -> str:
    """Rounds down. By zero: 0; the smallest integer by -1 wraps around. Never traps."""
    (a, b), kind, flag = args, llvm_type(dtype, lanes), llvm_type(bool_, lanes)
    if dtype is i64 and lanes == 1 and op == "floordiv":
        return w.floor_divide(a, b)
    zero, one = literal(0, dtype, lanes), literal(1, dtype, lanes)
    is_zero = w.let(f"icmp eq {kind} {b}, {zero}")
    is_minus = w.let(f"icmp eq {kind} {b}, {literal(-1, dtype, lanes)}")
    unsafe = w.let(f"or {flag} {is_zero}, {is_minus}")
    divisor = w.let(f"select {flag} {unsafe}, {kind} {one}, {kind} {b}")
    quotient = w.let(f"sdiv {kind} {a}, {divisor}")
    rest = w.let(f"sub {kind} {a}, {w.let(f'mul {kind} {quotient}, {divisor}')}")
    differs = w.let(f"icmp slt {kind} {w.let(f'xor {kind} {rest}, {b}')}, {zero}")
    lower = w.let(f"and {flag} {differs}, {w.let(f'icmp ne {kind} {rest}, {zero}')}")
    if op == "mod":
        shifted = w.let(f"add {kind} {rest}, {b}")
        return w.let(f"select {flag} {lower}, {kind} {shifted}, {kind} {rest}")
    rounded = w.let(f"add {kind} {quotient}, {w.let(f'sext {flag} {lower} to {kind}')}")
    negated = w.let(f"sub {kind} {zero}, {a}")
    defined = w.let(f"select {flag} {is_minus}, {kind} {negated}, {kind} {rounded}")
    return w.let(f"select {flag} {is_zero}, {kind} {zero}, {kind} {defined}")


def divide_naturals(w: Writer, op: str, a: str, b: str) -> str:
    """`a // b` or `a mod b` of i64 scalars that are known to be >= 0; by zero: 0."""
    if a.isdigit() and b.isdigit():
        return str(int(a) // int(b) if op == "floordiv" else int(a) % int(b)) if int(b) else "0"
    symbol = "udiv" if op == "floordiv" else "urem"
    if b.isdigit() and b != "0":
        return w.let(f"{symbol} i64 {a}, {b}")
    is_zero = w.let(f"icmp eq i64 {b}, 0")
    result = w.let(f"{symbol} i64 {a}, {w.let(f'select i1 {is_zero}, i64 1, i64 {b}')}")
    return w.let(f"select i1 {is_zero}, i64 0, i64 {result}")
