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
# The second part: from x 2/pi modulo 4 in units of 2^-190, in %high, %middle and %lower, to %n and
# a signed fraction of size %a + %a.low. A negative one is complemented: it is off by 2^-128.
REDUCE_FRACTION = """\
  %turns = lshr i64 %high, 62
  %part = call i64 @llvm.fshl.i64(i64 %high, i64 %middle, i64 2)
  %part.low = call i64 @llvm.fshl.i64(i64 %middle, i64 %lower, i64 2)
  %sign = ashr i64 %part, 63
  %negative = icmp slt i64 %part, 0
  %n = sub i64 %turns, %sign
  %size = xor i64 %part, %sign
  %size.low = xor i64 %part.low, %sign
  %zeros = call i64 @llvm.ctlz.i64(i64 %size, i1 true)
  %normal = call i64 @llvm.fshl.i64(i64 %size, i64 %size.low, i64 %zeros)
  %normal.low = shl i64 %size.low, %zeros
  %head = lshr i64 %normal, 11
  %rest.all = call i64 @llvm.fshl.i64(i64 %normal, i64 %normal.low, i64 42)
  %rest = and i64 %rest.all, 9007199254740991
  %head.float = sitofp i64 %head to double
  %rest.float = sitofp i64 %rest to double
  %scale.exponent = sub i64 970, %zeros
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


def reduce_large(fma_is_fast: bool, wide: bool) -> MathFunction:
    """reduce_large(parts, lanes), in memory, for any number of lanes, with its table of 2/pi.

    `parts` are x of all lanes, then r, r_low and n: replaced in the lanes with |x| >= 2^28, by the
    fraction of x 2/pi, times pi/2, with its sign. r is NaN for an infinity. `wide`: products of
    128 bits are instructions; elsewhere they would be calls.
    """
    code = Code(1, fma_is_fast, lines=REDUCE_BITS.splitlines())
    multiply_bits(code, wide)
    code.lines += REDUCE_FRACTION.splitlines()
    a, a_low = Term(code, "%a", "double"), Term(code, "%a.low", "double")
    half_pi = code.constant(PI_2_PARTS[0], "double")
    high, low = code.exact_product(a, half_pi)
    low = code.fma(a, PI_2_PARTS[1], code.fma(a_low, half_pi, low))
    negative, infinite = Term(code, "%negative", "i1"), Term(code, "%infinite", "i1")
    signed = code.select(negative, -high, high)
    nan = float_text(math.nan, "double")
    code.lines += [
        f"  %r = select i1 {infinite.text}, double {nan}, double {signed.text}",
        f"  %r.low = select i1 {negative.text}, double {(-low).text}, double {low.text}",
        *REPLACE_PARTS.splitlines(),
    ]
    limbs = ", ".join(f"i64 {limb}" for limb in TWO_OVER_PI_LIMBS)
    table = f"{TABLE} = internal unnamed_addr constant [{len(TWO_OVER_PI_LIMBS)} x i64] [{limbs}]"
    symbol = symbol_of("reduce_large", f64, 1)
    head = f"define internal void {symbol}(ptr %parts, i64 %lanes)"  # cold: compiled in less time
    head = f"{head} noinline cold optnone nounwind {{"
    text = "\n".join((table, head, *code.lines, "}\n"))
    declarations = (
        "declare i64 @llvm.fshl.i64(i64, i64, i64)",
        "declare i64 @llvm.ctlz.i64(i64, i1)",
        *sorted(code.declarations),
    )
    return MathFunction(symbol, text, (), declarations)


def multiply_bits(code: Code, wide: bool) -> None:
    """%high, %middle, %lower: %m (%w0, %w1, %w2) modulo 2^192, for %m < 2^53."""
    m, w0, w1, w2 = (Term(code, name, "i64") for name in ("%m", "%w0", "%w1", "%w2"))
    product = wide_product if wide else product_of_halves
    carried, lower = product(code, m, w2)
    high, low = product(code, m, w1)
    middle = low + carried
    carry = code.cast("zext", code.compare("ult", middle, carried), "i64")
    high = high + m * w0
    code.lines += [
        f"  %lower = add i64 {lower.text}, 0",
        f"  %middle = add i64 {middle.text}, 0",
        f"  %high = add i64 {high.text}, {carry.text}",
    ]


def wide_product(code: Code, a: Term, b: Term) -> tuple[Term, Term]:
    """(high, low): a b = high 2^64 + low, from one product of 128 bits."""
    product = code.cast("zext", a, "i128") * code.cast("zext", b, "i128")
    return code.cast("trunc", product >> 64, "i64"), code.cast("trunc", product, "i64")


def product_of_halves(code: Code, a: Term, b: Term) -> tuple[Term, Term]:
    """(high, low): a b = high 2^64 + low for a < 2^53, from 32-bit factors."""
    mask = (1 << 32) - 1
    (a_high, a_low), (b_high, b_low) = ((t >> 32, t & mask) for t in (a, b))
    lowest = a_low * b_low
    middle = a_high * b_low + (lowest >> 32)
    other = a_low * b_high + (middle & mask)
    high = a_high * b_high + (middle >> 32) + (other >> 32)
    return high, other << 32 | lowest & mask
