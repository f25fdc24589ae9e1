"""The functions of the language: which of `gradc.tensor`'s it has, and the derivative forms.

The table is explicit: no text of the user's is ever looked up as an attribute.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from inspect import Parameter, signature
from typing import Any

from gradc.ir.record import dataclass

FUNCTIONS = (
    # arithmetic
    "add", "subtract", "multiply", "divide", "floor_divide", "remainder", "power", "negative",
    "abs", "sign", "square", "reciprocal", "maximum", "minimum", "clip", "floor", "ceil",
    # elementary functions
    "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "logaddexp", "xlogy",
    "xlog1py", "sqrt", "sin", "cos", "tan", "arcsin", "arccos", "arctan", "arctan2",
    "sinh", "cosh", "tanh", "hypot", "sigmoid", "softplus", "relu", "erf",
    # comparison, logic, choice
    "equal", "not_equal", "less", "less_equal", "greater", "greater_equal", "logical_and",
    "logical_or", "logical_xor", "logical_not", "isnan", "isinf", "isfinite", "where",
    # reductions
    "sum", "prod", "mean", "var", "std", "max", "min", "any", "all", "argmax", "argmin",
    "count_nonzero", "logsumexp", "softmax", "log_softmax", "norm",
    # along an axis
    "cumsum", "cumprod", "linear_recurrence", "sort", "argsort",
    # products
    "matmul", "dot", "inner", "outer", "tensordot", "vdot", "vecdot", "trace", "diagonal",
    # shapes
    "reshape", "ravel", "transpose", "permute_dims", "matrix_transpose", "swapaxes", "moveaxis",
    "expand_dims", "squeeze", "broadcast_to", "concat", "concatenate", "stack",
    "flip", "pad", "repeat", "tile", "take", "take_along_axis", "tril", "triu",
    "set_at", "add_at",
    # making arrays
    "zeros", "ones", "full", "zeros_like", "ones_like", "full_like", "one_hot", "arange", "eye",
    "identity", "linspace",
)  # fmt: skip
# Identities whose gradients are changed or cut.
GRADIENT_FUNCTIONS = (
    "zero_grad", "consider_constant", "disconnected_grad", "undefined_grad", "grad_clip",
    "grad_scale",
)  # fmt: skip
BUILTIN_NAMES = frozenset((*FUNCTIONS, *GRADIENT_FUNCTIONS))
FORMS = (
    "grad", "value_and_grad", "jvp", "Rop", "vjp", "Lop", "jacobian", "hessian", "hvp",
)  # fmt: skip
# Parameters that take a tuple; an array literal given for one is read as a tuple.
TUPLE_PARAMETERS = frozenset(
    ("arrays", "axes", "axis", "destination", "pad_width", "repetitions", "reps", "shape", "source")
)


@dataclass(frozen=True, slots=True)
class Builtin:
    """A function of the language, its parameters, and which of them must be given."""

    name: str
    function: Callable[..., Any]
    parameters: tuple[str, ...]
    required: tuple[str, ...]


@cache
def builtin(name: str) -> Builtin:
    """The function called `name`, one of `BUILTIN_NAMES`. Its module is loaded only now."""
    module = import_module(
        "gradc.gradient_control" if name in GRADIENT_FUNCTIONS else "gradc.tensor"
    )
    return _builtin(name, getattr(module, name))


def _builtin(name: str, function: Callable[..., Any]) -> Builtin:
    parameters = signature(function).parameters
    required = tuple(key for key, p in parameters.items() if p.default is Parameter.empty)
    return Builtin(name, function, tuple(parameters), required)


def did_you_mean(text: str, known: Sequence[str]) -> list[str]:
    """Advice that names the closest known name, if one is close."""
    close = close_names(text, known)
    return [f"did you mean `{close[0]}`?"] if close else []


def close_names(text: str, known: Sequence[str]) -> list[str]:
    """The known name closest to `text`, if one is close."""
    from difflib import get_close_matches  # only for what is wrong

    exact = [name for name in known if name.lower() == text.lower()]
    return exact or get_close_matches(text, known[:1000], n=1, cutoff=0.6)
