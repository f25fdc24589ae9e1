"""Quotients by a denominator whose reciprocal is known, rounded as division rounds them.

q = x r, where r = 1 / d is rounded, is within two units in the last place of x / d. The rest
x - q d needs one rounding at most, and q + (x - q d) r, rounded once, is the quotient that division
gives (P. Markstein, Computation of elementary functions on the IBM RISC System/6000 processor,
1990): three operations that the machine begins every cycle, in place of one that takes five to
sixteen. Exceptions: a zero may have the other sign, and the last bit may differ where the rest or
the reciprocal is subnormal (|x| below 1e-290 or |d| above 4e307 in f64; 1e-30, 8e37 in f32).
"""

from __future__ import annotations

from gradc.codegen.math_ir import Code, MathFunction, Term, any_lane, symbol_of
from gradc.ir.types import DType, f64


def exact_quotient(dtype: DType, lanes: int) -> MathFunction:
    """`x / d` from x, d and 1 / d, for machines with a fused multiply-add."""
    code = Code(lanes, fma_is_fast=True)
    element = "double" if dtype == f64 else "float"
    kind, symbol = code.type_of(element), symbol_of("exact_quotient", dtype, lanes)
    x, d, r = (Term(code, f"%x{i}", element) for i in range(3))
    q = x * r
    rest = code.fma(-q, d, x)
    near = code.fma(rest, r, q)
    # NaN: an operand is not finite, or the reciprocal or the quotient overflows.
    special = any_lane(code, code.compare("uno", near, near))
    code.lines += [f"  br i1 {special.text}, label %special, label %done", "special:"]
    divided = x / d
    code.lines += ["  br label %done", "done:"]
    result = code.emit(f"phi {kind} [{near.text}, %entry], [{divided.text}, %special]", element)
    parameters = ", ".join(f"{kind} %x{i}" for i in range(3))
    lines = "\n".join(code.lines)
    text = f"define internal {kind} {symbol}({parameters}) alwaysinline nounwind {{\nentry:\n"
    text += f"{lines}\n  ret {kind} {result.text}\n}}\n"
    return MathFunction(symbol, text, (), tuple(sorted(code.declarations)))
