"""Constant folding: what can be computed now is, by the rules of the reference evaluator.

Equations of constants become constants of at most 64 elements. Of integers and booleans there may
be 4,096, and beside an array of constants repeated numbers and ranges count as constants too:
indices are what they come to, and masks that are all true vanish. A broadcast scalar stays a
broadcast, a padded one padded: rules recognise them.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from gradc.ir.dims import is_static, product
from gradc.ir.function import Equation, Value, requirements_of
from gradc.ir.lowering import Contraction, IndexMap, Pointwise, Reduction, Scatter
from gradc.ir.ops.constants import constant, iota, size_value
from gradc.ir.ops.slicing import pad
from gradc.ir.ops.structural import broadcast
from gradc.ir.passes.rewrite import Table, needs
from gradc.ir.types import constant_data

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"

_COMPUTED = (Pointwise, IndexMap, Reduction, Contraction, Scatter)
_LARGEST = 64  # elements: a larger constant costs more to store and load than to compute
_LARGEST_OF_INTEGERS = 4096  # indices and masks: known ones show structure


def _fold_size(made: Equation) -> Value | None:
    dim = made.attrs["dim"]
    if not isinstance(dim, int):
        return None
    result: Value = constant(value=constant_data(dim, made.outputs[0].dtype))
    return result


@needs(constant)
def _fold(made: Equation) -> Value | None:
    if made.op in (broadcast, pad) or not made.inputs or len(made.outputs) != 1:
        return None
    if not any(map(_is_array, made.inputs)):
        return None
    output = made.outputs[0]
    if not is_static(output.shape) or not _is_small(output):
        return None
    arrays = [_known(value) for value in made.inputs]
    if any(array is None for array in arrays):
        return None
    if any(True for _ in requirements_of(made)):
        return None
    with np.errstate(all="ignore"):
        computed = np.asarray(made.op.evaluate(*arrays, **made.attrs))
    if constant_data(computed, output.dtype).type != output.type:
        return None
    return _constant(computed, output)


def _constant(computed: Array, output: Value) -> Value:
    """The array as a constant; one number again and again as a broadcast."""
    result: Value
    if computed.ndim and computed.size > 1 and not output.dtype.is_float:
        first = computed.flat[0]
        if (computed == first).all():
            one = constant(value=constant_data(first, output.dtype))
            result = broadcast(one, shape=output.shape, axes=())
            return result
    result = constant(value=constant_data(computed, output.dtype))
    return result


def _is_array(value: Value) -> bool:
    return value.owner is not None and value.owner.op is constant and _is_small(value)


def _is_small(value: Value) -> bool:
    most = _LARGEST if value.dtype.is_float else _LARGEST_OF_INTEGERS
    size = product(value.shape)
    return isinstance(size, int) and size <= most


def _known(value: Value) -> Array | None:
    """The array that a value is in any case."""
    made = value.owner
    if made is None or not is_static(value.shape) or not _is_small(value):
        return None
    if made.op is constant:
        found: Array = made.attrs["value"].array
        return found
    if made.op is iota and not value.dtype.is_float:
        return np.arange(made.attrs["size"], dtype=value.dtype.numpy)
    if made.op is broadcast and not value.dtype.is_float and _is_array(made.inputs[0]):
        return np.asarray(made.op.evaluate(_known(made.inputs[0]), **made.attrs))
    return None


CONSTANTS = Table({size_value: (_fold_size,)}, dict.fromkeys(_COMPUTED, (_fold,)))
