"""Constant folding: what can be computed now is, by the rules of the reference evaluator."""

from __future__ import annotations

import numpy as np
from gradc.ir.dims import is_static, product
from gradc.ir.function import Equation, Function, Value
from gradc.ir.lowering import Contraction, IndexMap, Pointwise, Reduction, Scatter
from gradc.ir.ops.constants import constant, size_value
from gradc.ir.ops.slicing import pad
from gradc.ir.ops.structural import broadcast
from gradc.ir.passes.rewrite import rewrite
from gradc.ir.types import constant_data

_COMPUTED = (Pointwise, IndexMap, Reduction, Contraction, Scatter)
_LARGEST = 64  # elements: a larger constant costs more to store and load than to compute


def fold_constants(fn: Function) -> Function:
    """`fn` with equations of constants replaced by constants, of at most 64 elements.

    A broadcast scalar stays a broadcast, a padded one padded: rules recognise them.
    """
    return rewrite(fn, {size_value: (_fold_size,)}, dict.fromkeys(_COMPUTED, (_fold,)))


def _fold_size(made: Equation) -> Value | None:
    dim = made.attrs["dim"]
    if not isinstance(dim, int):
        return None
    result: Value = constant(value=constant_data(dim, made.outputs[0].dtype))
    return result


def _fold(made: Equation) -> Value | None:
    for value in made.inputs:
        if not _is_small_constant(value):
            return None
    if made.op in (broadcast, pad) or not made.inputs or len(made.outputs) != 1:
        return None
    output = made.outputs[0]
    if not is_static(output.shape) or product(output.shape) > _LARGEST:  # type: ignore[operator]
        return None
    types = [value.type for value in made.inputs]
    if any(True for _ in made.op.requires(*types, **made.attrs)):
        return None
    arrays = [value.owner.attrs["value"].array for value in made.inputs if value.owner]
    with np.errstate(all="ignore"):
        computed = np.asarray(made.op.evaluate(*arrays, **made.attrs))
    result: Value = constant(value=constant_data(computed, output.dtype))
    return result if result.type == output.type else None


def _is_small_constant(value: Value) -> bool:
    if value.owner is None or value.owner.op is not constant:
        return False
    return len(value.owner.attrs["value"].data) <= _LARGEST * value.dtype.itemsize
