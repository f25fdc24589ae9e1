"""Names that C, C++ and the C library keep for themselves."""

from __future__ import annotations

import re
from collections.abc import Iterable


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


KEYWORDS = _words(
    """auto break case char const continue default do double else enum extern float for goto if
    inline int long register restrict return short signed sizeof static struct switch typedef union
    unsigned void volatile while bool true false nullptr constexpr alignas alignof static_assert
    thread_local typeof typeof_unqual asm fortran and and_eq bitand bitor catch char8_t char16_t
    char32_t class compl concept consteval constinit const_cast co_await co_return co_yield decltype
    delete dynamic_cast explicit export false friend mutable namespace new noexcept not not_eq
    operator or or_eq private protected public reinterpret_cast requires static_cast template this
    throw try typeid typename using virtual wchar_t xor xor_eq"""
)
# Macros of the standard headers and of compilers: as bad for a parameter's name as a keyword.
MACROS = _words(
    """NULL EOF NAN INFINITY HUGE_VAL I errno stdin stdout stderr assert complex imaginary linux
    unix i386 near far int32_t int64_t"""
)
# Functions that a library must not export: it would replace them in the program that links it.
LIBRARY_FUNCTIONS = _words(
    """abort abs acos acosh asin asinh atan atan2 atanh atexit atof atoi atol bsearch calloc cbrt
    ceil close copysign cos cosh div erf erfc exit exp exp2 expm1 fabs fclose fdim fflush floor fma
    fmax fmin fmod fopen fork fprintf fputs fread free frexp fwrite gamma getenv hypot ilogb index
    j0 j1 jn kill labs ldexp ldiv lgamma link llabs lldiv llrint llround log log10 log1p log2 logb
    lrint lround main malloc memchr memcmp memcpy memmove memset mmap modf nan nearbyint nextafter
    open perror pipe pow printf puts qsort raise rand random read realloc remainder remove remquo
    rename rint round scalbn select send signal sin sinh sleep snprintf sprintf sqrt srand sscanf
    stat strcat strchr strcmp strcpy strlen strncmp strncpy strtod strtol system tan tanh tgamma
    time trunc unlink wait write y0 y1 yn"""
)


def check_name(name: str) -> None:
    """Raise ValueError where a function of this name cannot be exported."""
    reason = None
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        reason = "is not a letter followed by letters, digits and underscores"
    elif name in KEYWORDS or name in MACROS:
        reason = "is a word of C or C++"
    elif name in LIBRARY_FUNCTIONS or name.removesuffix("f") in LIBRARY_FUNCTIONS:
        reason = "is a function of the C library, which the export would replace"
    elif name.startswith("gradc_"):
        reason = "begins with gradc_, which is kept for gradc's own symbols"
    if reason is not None:
        raise ValueError(f"the function {name!r} cannot be exported: its name {reason}")


def parameter_name(name: str, taken: set[str]) -> str:
    """`name`, with underscores appended while it is a word of C or `taken`; it is taken then."""
    while name in KEYWORDS or name in MACROS or name in taken:
        name += "_"
    taken.add(name)
    return name


MANIFEST_SYMBOL = "gradc_manifest"


def exported_symbols(names: Iterable[str]) -> tuple[str, ...]:
    """The symbols of a library with the functions `names`: all that it exports.

    Raises ValueError for a name that C cannot use, that replaces a function of the C library, or
    whose symbols clash with another's.
    """
    names = tuple(names)
    found: dict[str, str] = {MANIFEST_SYMBOL: "the manifest"}
    for name in names:
        check_name(name)
        for symbol in function_symbols(name):
            if symbol in found:
                raise ValueError(
                    f"the symbol {symbol} of {name} is already that of {found[symbol]}; "
                    "export one of them under another name"
                )
            found[symbol] = name
    return tuple(found)


def function_symbols(name: str) -> tuple[str, str, str, str]:
    """The function, its workspace query, and the generic forms of both."""
    return name, f"{name}_workspace", f"gradc_call_{name}", f"gradc_workspace_{name}"
