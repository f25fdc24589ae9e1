"""Mathematical functions of vectors, as LLVM text that calls nothing outside the module.

A function of one lane is the same algorithm on scalars: results do not depend on the vector width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from gradc.codegen import math_short
from gradc.codegen.math_atan import atan2
from gradc.codegen.math_erf import erf_from
from gradc.codegen.math_exp import exp, expm1, sigmoid, tanh
from gradc.codegen.math_ir import Code, MathFunction, Term, symbol_of
from gradc.codegen.math_log import log, log1p, softplus, softplus_sigmoid
from gradc.codegen.math_pow import pow_, pow_pow
from gradc.codegen.math_quotient import exact_quotient
from gradc.codegen.math_reduce import reduce_large
from gradc.codegen.math_trig import cos, sin, sin_cos
from gradc.ir.types import DType, f64

Body = Callable[..., "Term | tuple[Term, ...]"]  # of the code and terms
FULL: tuple[tuple[str, Body], ...] = (
    ("exp", exp),
    ("expm1", expm1),
    ("log", log),
    ("log1p", log1p),
    ("tanh", tanh),
    ("sigmoid", sigmoid),
    ("softplus", softplus),
    ("sin", sin),
    ("cos", cos),
    ("erf_from", erf_from),
    ("atan2", atan2),
    ("pow", pow_),
)
# Functions whose first argument is the same, as one with several results: they share work.
JOINT: Mapping[str, tuple[tuple[str, ...], Body]] = MappingProxyType(
    {
        "sin_cos": (("sin", "cos"), sin_cos),
        "softplus_sigmoid": (("softplus", "sigmoid"), softplus_sigmoid),
        "pow_pow": (("pow", "pow"), pow_pow),
    }
)
# f32 functions that compute in f64, and round once.
SHORT: Mapping[str, Body] = MappingProxyType(
    {
        "sin": math_short.sin,
        "cos": math_short.cos,
        "sin_cos": math_short.sin_cos,
        "atan2": math_short.atan2,
    }
)
ARITY: Mapping[str, int] = MappingProxyType({"atan2": 2, "pow": 2, "erf_from": 2, "pow_pow": 3})
MATH_NAMES = tuple(name for name, _ in FULL)
LANES = (1, 2, 4, 8, 16)


def math_function(
    name: str,
    dtype: DType,
    lanes: int,
    *,
    fma: bool = True,
    table: bool = False,
    wide: bool = False,
) -> MathFunction:
    """The function `name` of `lanes` elements, internal and alwaysinline.

    A joint one returns a structure of its results.
    `fma` says that the machine has a fused multiply-add instruction: where it has not, `llvm.fma`
    would be a call of libm. `table`: constants are read from memory, see `math_ir`. `wide`: it has
    products of 128 bits, see `reduce_large`. ValueError for a name, an element type or a number of
    lanes there is none for.
    """
    if lanes not in LANES or not dtype.is_float:
        raise ValueError(
            f"math function {name}: {lanes} x {dtype}; have f64, f32 and {LANES} lanes"
        )
    if name == "reduce_large":
        return reduce_large(fma, wide)
    if name == "exact_quotient":
        return exact_quotient(dtype, lanes)
    arity = ARITY.get(name, 1)
    symbol = symbol_of(name, dtype, lanes)
    code = Code(lanes, fma, f"{symbol}.table" if table else "")
    element = "double" if dtype == f64 else "float"
    terms = [Term(code, f"%x{i}", element) for i in range(arity)]
    results = body(code, name, terms)
    kind = code.type_of(element)
    parameters = ", ".join(f"{kind} {term.text}" for term in terms)
    result = result_type(name, kind)
    head = f"define internal {result} {symbol}({parameters}) alwaysinline nounwind {{"
    value = results[0].text if len(results) == 1 else code.aggregate(result, results)
    lines = "\n".join(code.lines)
    text = f"{_table(code)}{head}\nentry:\n{lines}\n  ret {result} {value}\n}}\n"
    return MathFunction(symbol, text, tuple(code.dependencies), tuple(sorted(code.declarations)))


def _table(code: Code) -> str:
    """The constants that a function reads, as a global of its own.

    As "externally initialized": LLVM would put its numbers in place of what is read.
    """
    if not code.rows:
        return ""
    types = ", ".join(row.partition(" splat")[0] for row in code.rows)
    rows, align = ", ".join(code.rows), 8 * code.lanes
    kind = "internal externally_initialized constant"
    return f"{code.table} = {kind} {{{types}}} {{{rows}}}, align {align}\n"


def body(code: Code, name: str, terms: list[Term]) -> tuple[Term, ...]:
    """The results of the function on `terms`."""
    bodies = {**dict(FULL), **{joint: write for joint, (_, write) in JOINT.items()}}
    if name not in bodies:
        raise ValueError(f"math function {name}: unknown; there are {', '.join(bodies)}")
    if terms[0].element == "float" and name in SHORT:
        wide = [code.cast("fpext", term, "double") for term in terms]
        found = _tuple(SHORT[name](code, *wide))
        return tuple(code.cast("fptrunc", term, "float") for term in found)
    return _tuple(bodies[name](code, *terms))


def result_type(name: str, kind: str) -> str:
    """The LLVM type of what a function of `kind` returns: joint ones a structure."""
    if name not in JOINT:
        return kind
    return f"{{ {', '.join([kind] * len(JOINT[name][0]))} }}"


def _tuple(found: Term | tuple[Term, ...]) -> tuple[Term, ...]:
    return found if isinstance(found, tuple) else (found,)


def working_bits(name: str, dtype: DType) -> int:
    """Of the format that a function computes in."""
    return 64 if name in SHORT else 8 * dtype.itemsize


def math_text(
    wanted: Iterable[tuple[str, DType, int]],
    *,
    fma: bool = True,
    table: bool = False,
    wide: bool = False,
) -> str:
    """The text of the wanted functions (name, dtype, lanes) and of all they call, each once."""
    functions: dict[tuple[str, DType, int], MathFunction] = {}
    pending = list(wanted)
    while pending:
        key = pending.pop()
        if key in functions:
            continue
        functions[key] = math_function(*key, fma=fma, table=table, wide=wide)
        pending += functions[key].dependencies
    declarations = sorted({line for fn in functions.values() for line in fn.declarations})
    texts = [fn.text for _, fn in sorted(functions.items(), key=lambda item: item[1].symbol)]
    return "\n".join([*declarations, "", *texts])
