"""gradc: an ahead-of-time differentiating compiler for array programs.

    import gradc, gradc.tensor as gt
    from gradc import f64

    @gradc.function
    def loss(w: f64["d"], X: f64["n", "d"], y: f64["n"]):
        return gt.mean((X @ w - y) ** 2)

    gradient = gradc.grad(loss, wrt="w")

Names are loaded when they are first used: a program that only loads a compiled library imports
neither LLVM nor a parser, and `import gradc` alone not even NumPy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gradc.errors import (
    DisconnectedInputError,
    DisconnectedInputWarning,
    GradcError,
    GradcIndexError,
    GradcTypeError,
    GradcValueError,
    GradientError,
    NullTypeGradError,
)

if TYPE_CHECKING:
    from gradc import custom, external, tensor
    from gradc.custom import custom_jvp, custom_vjp
    from gradc.derivatives import (
        Lop,
        Rop,
        grad,
        hessian,
        hessian_vector_product,
        hvp,
        jacobian,
        jacobian_vector_product,
        jvp,
        pullback,
        pushforward,
        pushforward_through_pullback,
        value_and_grad,
        vector_jacobian_product,
        vjp,
    )
    from gradc.differences import numeric_grad
    from gradc.driver import CompiledFunction, function
    from gradc.gradient_control import (
        as_list_or_tuple,
        consider_constant,
        disconnected_grad,
        disconnected_type,
        grad_clip,
        grad_not_implemented,
        grad_scale,
        grad_undefined,
        null_type,
        subgraph_grad,
        undefined_grad,
        zero_grad,
    )
    from gradc.ir.types import DisconnectedType, NullType, bool_, f32, f64, i32, i64
    from gradc.libraries import BuildReport, build
    from gradc.null import NoGradient
    from gradc.rule_check import RuleReport, check_rule
    from gradc.runtime.module import LoadError, Module, load
    from gradc.tensor.variable import Tensor
    from gradc.tracing import MissingInputError, RepeatedInputError
    from gradc.verification import verify_grad
    from gradc.why import Explanation, Reason, why_zero

__all__ = [
    "BuildReport",
    "CompiledFunction",
    "DisconnectedInputError",
    "DisconnectedInputWarning",
    "DisconnectedType",
    "Explanation",
    "GradcError",
    "GradcIndexError",
    "GradcTypeError",
    "GradcValueError",
    "GradientError",
    "LoadError",
    "Lop",
    "MissingInputError",
    "Module",
    "NoGradient",
    "NullType",
    "NullTypeGradError",
    "Reason",
    "RepeatedInputError",
    "Rop",
    "RuleReport",
    "Tensor",
    "as_list_or_tuple",
    "bool_",
    "build",
    "check_rule",
    "consider_constant",
    "custom",
    "custom_jvp",
    "custom_vjp",
    "disconnected_grad",
    "disconnected_type",
    "external",
    "f32",
    "f64",
    "function",
    "grad",
    "grad_clip",
    "grad_not_implemented",
    "grad_scale",
    "grad_undefined",
    "hessian",
    "hessian_vector_product",
    "hvp",
    "i32",
    "i64",
    "jacobian",
    "jacobian_vector_product",
    "jvp",
    "load",
    "null_type",
    "numeric_grad",
    "pullback",
    "pushforward",
    "pushforward_through_pullback",
    "subgraph_grad",
    "tensor",
    "undefined_grad",
    "value_and_grad",
    "vector_jacobian_product",
    "verify_grad",
    "vjp",
    "why_zero",
    "zero_grad",
]

_MODULES = (
    ("gradc.rule_check", ("RuleReport", "check_rule")),
    ("gradc.custom", ("custom_jvp", "custom_vjp")),
    ("gradc.differences", ("numeric_grad",)),
    ("gradc.driver", ("CompiledFunction", "function")),
    (
        "gradc.derivatives",
        (
            "Lop",
            "Rop",
            "grad",
            "hessian",
            "hessian_vector_product",
            "hvp",
            "jacobian",
            "jacobian_vector_product",
            "jvp",
            "pullback",
            "pushforward",
            "pushforward_through_pullback",
            "value_and_grad",
            "vector_jacobian_product",
            "vjp",
        ),
    ),
    (
        "gradc.gradient_control",
        (
            "as_list_or_tuple",
            "consider_constant",
            "disconnected_grad",
            "disconnected_type",
            "grad_clip",
            "grad_not_implemented",
            "grad_scale",
            "grad_undefined",
            "null_type",
            "subgraph_grad",
            "undefined_grad",
            "zero_grad",
        ),
    ),
    (
        "gradc.ir.types",
        ("DisconnectedType", "NullType", "bool_", "f32", "f64", "i32", "i64"),
    ),
    ("gradc.libraries", ("BuildReport", "build")),
    ("gradc.null", ("NoGradient",)),
    ("gradc.runtime.module", ("LoadError", "Module", "load")),
    ("gradc.tensor.variable", ("Tensor",)),
    ("gradc.tracing", ("MissingInputError", "RepeatedInputError")),
    ("gradc.verification", ("verify_grad",)),
    ("gradc.why", ("Explanation", "Reason", "why_zero")),
)


def __getattr__(name: str) -> Any:
    if name in ("custom", "external", "gradient", "tensor"):
        return import_module(f"gradc.{name}")
    for module, names in _MODULES:
        if name in names:
            found = getattr(import_module(module), name)
            globals()[name] = found
            return found
    raise AttributeError(f"module 'gradc' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
