"""sin, cos: x = n pi/2 + r, |r| <= pi/4, with pi/2 in three doubles for |x| < 2^28, and 1280 bits
of 2/pi beyond.

Then sin r = r + r^3 S(r^2) and cos r = 1 - r^2/2 + r^4 C(r^2), minimax; the quadrant n mod 4
selects and signs.
"""

from __future__ import annotations

from gradc.codegen.math_ir import Code, Term, any_lane, symbol_of
from gradc.ir.record import dataclass
from gradc.ir.types import f64

TWO_OVER_PI = 0.6366197723675814
PI_2_PARTS = (  # pi/2 as a sum of doubles
    float.fromhex("0x1.921fb54442d18p+0"),
    float.fromhex("0x1.1a62633145c07p-54"),
    float.fromhex("-0x1.f1976b7ed8fbcp-110"),
)
MODERATE = 2.0**28
SIN_S = (
    -0.16666666666666632,
    0.008333333333322457,
    -0.00019841269829816858,
    2.7557313689118322e-06,
    -2.5050756978556027e-08,
    1.589669757656597e-10,
)
COS_C = (
    0.041666666666666616,
    -0.0013888888888876,
    2.4801587290486857e-05,
    -2.7557314607001453e-07,
    2.0875754152133066e-09,
    -1.136109165448928e-11,
)


@dataclass(frozen=True, slots=True)
class Turned:
    """What sin and cos of a number share: |x| = quadrant pi/2 + r, with sin r and cos r.

    Only the low two bits of the integer count: in odd quadrants the sine is that of cos r, and in
    the upper half turn it is negative.
    """

    sine: Term
    cosine: Term
    quadrant: Term
    is_even: Term

    @classmethod
    def of(cls, sine: Term, cosine: Term, quadrant: Term) -> Turned:
        return cls(sine, cosine, quadrant, sine.code.compare("eq", quadrant & 1, 0))

    def sin(self, x: Term) -> Term:
        """sin |x| with the sign of x."""
        code = self.sine.code
        size = code.select(self.is_even, self.sine, self.cosine)
        return code.from_bits(code.bits(size) ^ (_sign(self.quadrant) ^ (code.bits(x) & -1 << 63)))

    def cos(self) -> Term:
        """cos |x| = sin(|x| + pi/2)."""
        code = self.sine.code
        size = code.select(self.is_even, self.cosine, self.sine)
        return code.from_bits(code.bits(size) ^ _sign(self.quadrant + 1))


def _sign(quadrant: Term) -> Term:
    """The sign bit of the sine."""
    return (quadrant & 2) << 62


def sin(code: Code, x: Term) -> Term:
    return turned(code, x).sin(x)


def cos(code: Code, x: Term) -> Term:
    return turned(code, x).cos()


def sin_cos(code: Code, x: Term) -> tuple[Term, Term]:
    """Both, with the bits of each alone."""
    both = turned(code, x)
    return both.sin(x), both.cos()


def turned(code: Code, x: Term) -> Turned:
    """sin(r + r_low) and cos(r + r_low)."""
    r, r_low, quadrant = reduce_by_half_pi(code, code.fabs(x))
    z = r * r
    sine = r + code.fma(r * z, code.polynomial(SIN_S, z), r_low)
    half_z = 0.5 * z
    near = 1.0 - half_z
    rest = code.fma(z * z, code.polynomial(COS_C, z), -(r * r_low))
    return Turned.of(sine, near + (((1.0 - near) - half_z) + rest), quadrant)


def reduce_by_half_pi(code: Code, x: Term) -> tuple[Term, Term, Term]:
    """(r, r_low, n): x = n pi/2 + r + r_low for x >= 0; only the low two bits of the integer n
    count.
    """
    shifted = code.fma(x, TWO_OVER_PI, x.format.round)
    n = shifted - x.format.round
    first, first_low = code.exact_product(n, code.constant(PI_2_PARTS[0], "double"))
    high = (x - first) - first_low
    if code.fma_is_fast:
        high = code.fma(n, -PI_2_PARTS[0], x)
    second, second_low = code.exact_product(n, code.constant(PI_2_PARTS[1], "double"))
    r = high - second
    r_low = code.fma(n, -PI_2_PARTS[2], (high - r) - second) - second_low
    return correct_large(code, x, (r, r_low, code.bits(shifted)))


def correct_large(code: Code, x: Term, parts: tuple[Term, Term, Term]) -> tuple[Term, Term, Term]:
    """Behind a branch taken if any lane is large: the parts, replaced in the large lanes."""
    large = any_lane(code, x >= MODERATE)
    label, before = len(code.lines), code.block
    memory = f"%parts{label}"
    code.lines += [
        f"  {memory} = alloca [{(1 + len(parts)) * code.lanes} x i64]",
        f"  br i1 {large.text}, label %large{label}, label %reduced{label}",
        f"large{label}:",
    ]
    corrected = reduced_in_memory(code, memory, (x, *parts))
    code.lines += [f"  br label %reduced{label}", f"reduced{label}:"]
    code.block = f"reduced{label}"
    merged = [
        code.emit(
            f"phi {code.type_of(a.element)} [{a.text}, %{before}], [{b.text}, %large{label}]",
            a.element,
        )
        for a, b in zip(parts, corrected, strict=True)
    ]
    return merged[0], merged[1], merged[2]


def reduced_in_memory(code: Code, memory: str, given: tuple[Term, ...]) -> list[Term]:
    """What `reduce_large` leaves of x and its parts, written one behind the other, of the parts."""
    code.dependencies.append(("reduce_large", f64, 1))
    kinds = [code.type_of(term.element) for term in given]
    places = [memory]
    places += [
        code.emit(f"getelementptr i64, ptr {memory}, i64 {i * code.lanes}", "ptr").text
        for i in range(1, len(given))
    ]
    code.lines += [
        f"  store {kind} {term.text}, ptr {place}, align 8"
        for kind, term, place in zip(kinds, given, places, strict=True)
    ]
    symbol = symbol_of("reduce_large", f64, 1)
    code.lines.append(f"  call void {symbol}(ptr {memory}, i64 {code.lanes})")
    return [
        code.emit(f"load {kind}, ptr {place}, align 8", term.element)
        for kind, term, place in list(zip(kinds, given, places, strict=True))[1:]
    ]
