"""Reduction of any double by pi/2 (Payne and Hanek 1983), out of line: only lanes with |x| >= 2^28
need it.

|x| = M 2^E with an integer M < 2^53. Bits of 2/pi whose product with M 2^E is a multiple of 4 do
not count, so 192 bits of 2/pi, from the bit of weight 2^(2 - E) on, give x 2/pi modulo 4 with an
error below 2^-137. No double lies closer than 2^-61 to a multiple of pi/2, which leaves 76 good
bits.
"""

from __future__ import annotations

import math

from gradc.codegen.math_ir import Code, MathFunction, Term, float_text, symbol_of
from gradc.codegen.math_trig import PI_2_PARTS
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

# The first part of a lane's body: %m and 192 bits of 2/pi in %w0, %w1, %w2.
REDUCE_BITS = """\
entry:
  br label %lane
lane:
  %i = phi i64 [ 0, %entry ], [ %following, %next ]
  %place.x = getelementptr double, ptr %parts, i64 %i
  %x = load double, ptr %place.x
  %following = add i64 %i, 1
  %large = fcmp oge double %x, 0x41B0000000000000
  br i1 %large, label %reduce, label %next
reduce:
  %bits = bitcast double %x to i64
  %field = lshr i64 %bits, 52
  %exponent = and i64 %field, 2047
  %infinite = icmp eq i64 %exponent, 2047
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
  %rest.wide = lshr i128 %normal, 22
  %rest.all = trunc i128 %rest.wide to i64
  %rest = and i64 %rest.all, 9007199254740991
  %head.float = sitofp i64 %head to double
  %rest.float = sitofp i64 %rest to double
  %scale.exponent = sub i64 970, %zeros.bounded
  %scale.bits = shl i64 %scale.exponent, 52
  %scale = bitcast i64 %scale.bits to double
  %rest.scaled = fmul double %rest.float, 0x3CA0000000000000
  %a = fmul double %head.float, %scale
  %a.low = fmul double %rest.scaled, %scale
"""
# The last part: %r, %r.low and %n in place of the lane's.
REPLACE_PARTS = """\
  %place.r = getelementptr double, ptr %place.x, i64 %lanes
  %place.low = getelementptr double, ptr %place.r, i64 %lanes
  %place.n = getelementptr i64, ptr %place.low, i64 %lanes
  store double %r, ptr %place.r
  store double %r.low, ptr %place.low
  store i64 %n, ptr %place.n
  br label %next
next:
  %more = icmp slt i64 %following, %lanes
  br i1 %more, label %lane, label %done
done:
  ret void
"""


def reduce_large(fma_is_fast: bool) -> MathFunction:
    """reduce_large(parts, lanes), in memory, for any number of lanes, with its table of 2/pi.

    `parts` are x of all lanes, then r, r_low and n: replaced in the lanes with |x| >= 2^28, by the
    fraction of x 2/pi, times pi/2, with its sign. r is NaN for an infinity.
    """
    code = Code(1, fma_is_fast, lines=REDUCE_BITS.splitlines())
    multiply_bits(code)
    code.lines += REDUCE_FRACTION.splitlines()
    a, a_low = Term(code, "%a", "double"), Term(code, "%a.low", "double")
    half_pi = code.constant(PI_2_PARTS[0], "double")
    high, low = code.exact_product(a, half_pi)
    low = code.fma(a, PI_2_PARTS[1], code.fma(a_low, half_pi, low))
    negative, infinite = Term(code, "%negative", "i1"), Term(code, "%infinite", "i1")
    signed = code.select(negative, -high, high)
    code.lines += [
        f"  %r = select i1 {infinite.text}, double {float_text(math.nan)}, double {signed.text}",
        f"  %r.low = select i1 {negative.text}, double {(-low).text}, double {low.text}",
        *REPLACE_PARTS.splitlines(),
    ]
    limbs = ", ".join(f"i64 {limb}" for limb in TWO_OVER_PI_LIMBS)
    table = f"{TABLE} = internal unnamed_addr constant [{len(TWO_OVER_PI_LIMBS)} x i64] [{limbs}]"
    symbol = symbol_of("reduce_large", f64, 1)
    head = f"define internal void {symbol}(ptr %parts, i64 %lanes) noinline cold nounwind {{"
    text = "\n".join((table, head, *code.lines, "}\n"))
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
