"""Reduction of any double by pi/2 (Payne and Hanek 1983), out of line: only lanes with |x| >= 2^28
need it.

|x| = M 2^E with an integer M < 2^53. Bits of 2/pi whose product with M 2^E is a multiple of 4 do
not count, so 192 bits of 2/pi, from the bit of weight 2^(2 - E) on, give x 2/pi modulo 4 with an
error below 2^-137. No double lies closer than 2^-61 to a multiple of pi/2, which leaves 76 good
bits.
"""

from __future__ import annotations

from gradc.codegen.math_ir import Code, MathFunction, Term, symbol_of
from gradc.codegen.math_trig import PI_2_PARTS, reduction_type
from gradc.ir.types import f64

TABLE = "@gradc.two_over_pi"
TWO_OVER_PI_LIMBS = (  # 64 zero bits, then the binary digits of 2/pi behind the point
    0x0000000000000000,
    0xA2F9836E4E441529,
    0xFC2757D1F534DDC0,
    0xDB6295993C439041,
    0xFE5163ABDEBBC561,
    0xB7246E3A424DD2E0,
    0x06492EEA09D1921C,
    0xFE1DEB1CB129A73E,
    0xE88235F52EBB4484,
    0xE99C7026B45F7E41,
    0x3991D639835339F4,
    0x9C845F8BBDF9283B,
    0x1FF897FFDE05980F,
    0xEF2F118B5A0A6D1F,
    0x6D367ECF27CB09B7,
    0x4F463F669E5FEA2D,
    0x7527BAC7EBE5F17B,
    0x3D0739F78A5292EA,
    0x6BFB5FB11F8D5D08,
    0x56033046FC7B6BAB,
)

# The first part of the body of one lane: %m and 192 bits of 2/pi in %w0, %w1, %w2.
REDUCE_BITS = """\
entry:
  %large = fcmp oge double %x, 0x41B0000000000000
  br i1 %large, label %look, label %keep
keep:
  %kept.0 = insertvalue { double, double, i64 } poison, double %r, 0
  %kept.1 = insertvalue { double, double, i64 } %kept.0, double %r_low, 1
  %kept.2 = insertvalue { double, double, i64 } %kept.1, i64 %n.given, 2
  ret { double, double, i64 } %kept.2
look:
  %bits = bitcast double %x to i64
  %field = lshr i64 %bits, 52
  %exponent = and i64 %field, 2047
  %finite = icmp ne i64 %exponent, 2047
  br i1 %finite, label %reduce, label %invalid
invalid:
  ret { double, double, i64 } { double 0x7FF8000000000000, double 0.0, i64 0 }
reduce:
  %fraction = and i64 %bits, 4503599627370495
  %m = or i64 %fraction, 4503599627370496
  %start = sub i64 %exponent, 1013
  %limb = lshr i64 %start, 6
  %shift = and i64 %start, 63
  %p0 = getelementptr i64, ptr @gradc.two_over_pi, i64 %limb
  %p1 = getelementptr i64, ptr %p0, i64 1
  %p2 = getelementptr i64, ptr %p0, i64 2
  %p3 = getelementptr i64, ptr %p0, i64 3
  %l0 = load i64, ptr %p0
  %l1 = load i64, ptr %p1
  %l2 = load i64, ptr %p2
  %l3 = load i64, ptr %p3
  %w0 = call i64 @llvm.fshl.i64(i64 %l0, i64 %l1, i64 %shift)
  %w1 = call i64 @llvm.fshl.i64(i64 %l1, i64 %l2, i64 %shift)
  %w2 = call i64 @llvm.fshl.i64(i64 %l2, i64 %l3, i64 %shift)
"""
# The second part: from x 2/pi modulo 4 in units of 2^-190, 128 bits in %upper and 64 in %lower,
# to %n and a signed fraction of size %a + %a.low.
REDUCE_FRACTION = """\
  %turns.wide = lshr i128 %upper, 126
  %turns = trunc i128 %turns.wide to i64
  %lower.top = lshr i64 %lower, 62
  %lower.wide = zext i64 %lower.top to i128
  %upper.shifted = shl i128 %upper, 2
  %part = or i128 %upper.shifted, %lower.wide
  %negative = icmp slt i128 %part, 0
  %up = zext i1 %negative to i64
  %n = add i64 %turns, %up
  %minus = sub i128 0, %part
  %size = select i1 %negative, i128 %minus, i128 %part
  %size.top.wide = lshr i128 %size, 64
  %size.top = trunc i128 %size.top.wide to i64
  %zeros = call i64 @llvm.ctlz.i64(i64 %size.top, i1 false)
  %zeros.bounded = and i64 %zeros, 63
  %zeros.wide = zext i64 %zeros.bounded to i128
  %normal = shl i128 %size, %zeros.wide
  %head.wide = lshr i128 %normal, 75
  %head = trunc i128 %head.wide to i64
  %next.wide = lshr i128 %normal, 22
  %next.all = trunc i128 %next.wide to i64
  %next = and i64 %next.all, 9007199254740991
  %head.float = sitofp i64 %head to double
  %next.float = sitofp i64 %next to double
  %scale.exponent = sub i64 970, %zeros.bounded
  %scale.bits = shl i64 %scale.exponent, 52
  %scale = bitcast i64 %scale.bits to double
  %next.scaled = fmul double %next.float, 0x3CA0000000000000
  %a = fmul double %head.float, %scale
  %a.low = fmul double %next.scaled, %scale
"""


def reduce_large(lanes: int, fma_is_fast: bool) -> MathFunction:
    """The parts (r, r_low, n) of x, replaced in the lanes with |x| >= 2^28; NaN for an infinity."""
    return reduce_lanes(Code(lanes, fma_is_fast)) if lanes > 1 else reduce_one(fma_is_fast)


def reduce_one(fma_is_fast: bool) -> MathFunction:
    """One lane: the fraction of x 2/pi, times pi/2, with its sign; and the table of 2/pi."""
    code = Code(1, fma_is_fast, lines=REDUCE_BITS.splitlines())
    multiply_bits(code)
    code.lines += REDUCE_FRACTION.splitlines()
    a, a_low = Term(code, "%a", "double"), Term(code, "%a.low", "double")
    half_pi = code.constant(PI_2_PARTS[0], "double")
    high, low = code.exact_product(a, half_pi)
    low = code.fma(a, PI_2_PARTS[1], code.fma(a_low, half_pi, low))
    negative = Term(code, "%negative", "i1")
    kind = reduction_type(code)
    parts = (
        code.select(negative, -high, high),
        code.select(negative, -low, low),
        Term(code, "%n", "i64"),
    )
    aggregate = code.aggregate(kind, parts)
    limbs = ", ".join(f"i64 {limb}" for limb in TWO_OVER_PI_LIMBS)
    table = f"{TABLE} = internal unnamed_addr constant [{len(TWO_OVER_PI_LIMBS)} x i64] [{limbs}]"
    symbol = symbol_of("reduce_large", f64, 1)
    head = f"define internal {kind} {symbol}(double %x, double %r, double %r_low, i64 %n.given)"
    body = "\n".join(code.lines)
    text = f"{table}\n{head} noinline cold nounwind {{\n{body}\n  ret {kind} {aggregate}\n}}\n"
    declarations = (
        "declare i64 @llvm.fshl.i64(i64, i64, i64)",
        "declare i64 @llvm.ctlz.i64(i64, i1)",
        *sorted(code.declarations),
    )
    return MathFunction(symbol, text, (), declarations)


def multiply_bits(code: Code) -> None:
    """%upper, %lower: %m (%w0, %w1, %w2) modulo 2^192."""
    m, w0, w1, w2 = (Term(code, name, "i64") for name in ("%m", "%w0", "%w1", "%w2"))
    low_high, low_left, low_right = wide_product(code, m, w2)
    high, left, right = wide_product(code, m, w1)
    upper = (code.cast("zext", high + m * w0, "i128") << 64) | code.cast(
        "zext", left | right, "i128"
    )
    carry = code.cast("zext", low_high, "i128")
    code.lines += [
        f"  %upper = add i128 {upper.text}, {carry.text}",
        f"  %lower = or i64 {low_left.text}, {low_right.text}",
    ]


def wide_product(code: Code, a: Term, b: Term) -> tuple[Term, Term, Term]:
    """(high, left, right): a b = high 2^64 + (left | right) for a < 2^53, from 32-bit factors.

    An i128 product would be a call where registers have 32 bits.
    """
    mask = (1 << 32) - 1
    (a_high, a_low), (b_high, b_low) = ((t >> 32, t & mask) for t in (a, b))
    lowest = a_low * b_low
    middle = a_high * b_low + (lowest >> 32)
    other = a_low * b_high + (middle & mask)
    high = a_high * b_high + (middle >> 32) + (other >> 32)
    return high, other << 32, lowest & mask


def reduce_lanes(code: Code) -> MathFunction:
    """Lane after lane by the function of one lane."""
    one, symbol = symbol_of("reduce_large", f64, 1), symbol_of("reduce_large", f64, code.lanes)
    given = tuple(
        zip(("%x", "%r", "%r_low", "%n"), ("double", "double", "double", "i64"), strict=True)
    )
    scalar = reduction_type(Code(1, code.fma_is_fast))
    merged = ["poison", "poison", "poison"]
    for lane in range(code.lanes):
        items = [
            code.emit(f"extractelement {code.type_of(kind)} {name}, i64 {lane}", kind)
            for name, kind in given
        ]
        arguments = ", ".join(f"{item.element} {item.text}" for item in items)
        parts = code.emit(f"call {scalar} {one}({arguments})", scalar)
        for i, (_, kind) in enumerate(given[1:]):
            part = code.emit(f"extractvalue {scalar} {parts.text}, {i}", kind)
            vector = f"{code.type_of(kind)} {merged[i]}, {kind} {part.text}, i64 {lane}"
            merged[i] = code.emit(f"insertelement {vector}", kind).text
    terms = tuple(Term(code, text, kind) for text, (_, kind) in zip(merged, given[1:], strict=True))
    result = reduction_type(code)
    aggregate = code.aggregate(result, terms)
    parameters = ", ".join(f"{code.type_of(kind)} {name}" for name, kind in given)
    body = "\n".join(code.lines)
    head = f"define internal {result} {symbol}({parameters}) noinline cold nounwind {{"
    text = f"{head}\nentry:\n{body}\n  ret {result} {aggregate}\n}}\n"
    return MathFunction(symbol, text, (("reduce_large", f64, 1),))
