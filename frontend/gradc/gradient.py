"""Everything about gradients, under PyTensor's names and with its meanings.

`docs/gradients.md` states the semantics, statement by statement.
"""

from __future__ import annotations

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
from gradc.errors import (
    DisconnectedInputError,
    DisconnectedInputWarning,
    GradientError,
    NullTypeGradError,
)
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
from gradc.ir.types import DisconnectedType, NoGradient, NullType
from gradc.verification import verify_grad
from gradc.why import Explanation, Reason, why_zero

__all__ = [
    "DisconnectedInputError",
    "DisconnectedInputWarning",
    "DisconnectedType",
    "Explanation",
    "GradientError",
    "Lop",
    "NoGradient",
    "NullType",
    "NullTypeGradError",
    "Reason",
    "Rop",
    "as_list_or_tuple",
    "consider_constant",
    "disconnected_grad",
    "disconnected_type",
    "grad",
    "grad_clip",
    "grad_not_implemented",
    "grad_scale",
    "grad_undefined",
    "hessian",
    "hessian_vector_product",
    "hvp",
    "jacobian",
    "jacobian_vector_product",
    "jvp",
    "null_type",
    "numeric_grad",
    "pullback",
    "pushforward",
    "pushforward_through_pullback",
    "subgraph_grad",
    "undefined_grad",
    "value_and_grad",
    "vector_jacobian_product",
    "verify_grad",
    "vjp",
    "why_zero",
    "zero_grad",
]
