"""Every op there is: what tests, the text form and front ends know."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from gradc.ir.op import Op
from gradc.ir.ops import (
    arithmetic,
    blocks,
    cast,
    composite,
    constants,
    contract,
    custom,
    elementwise,
    gradient_ops,
    indexing,
    logarithms,
    logic,
    reductions,
    scans,
    slicing,
    sorting,
    structural,
)

ALL_OPS: tuple[Op, ...] = (
    constants.constant,
    constants.iota,
    constants.size_value,
    # arithmetic
    arithmetic.add,
    arithmetic.sub,
    arithmetic.mul,
    arithmetic.div,
    arithmetic.neg,
    arithmetic.abs_,
    arithmetic.sign,
    arithmetic.pow_,
    arithmetic.floor_divide,
    arithmetic.remainder,
    arithmetic.maximum,
    arithmetic.minimum,
    arithmetic.clip,
    # functions
    elementwise.exp,
    elementwise.log,
    elementwise.log1p,
    elementwise.expm1,
    elementwise.sqrt,
    elementwise.tanh,
    elementwise.sigmoid,
    elementwise.softplus,
    elementwise.sin,
    elementwise.cos,
    elementwise.arctan2,
    elementwise.erf,
    elementwise.floor,
    elementwise.ceil,
    logarithms.xlogy,
    logarithms.xlog1py,
    logarithms.logaddexp,
    # comparisons and logic
    logic.eq,
    logic.ne,
    logic.lt,
    logic.le,
    logic.gt,
    logic.ge,
    logic.logical_and,
    logic.logical_or,
    logic.logical_xor,
    logic.logical_not,
    logic.isnan,
    logic.where,
    cast.cast,
    # axes
    structural.broadcast,
    structural.transpose,
    structural.reshape,
    structural.reversed_,
    structural.assume_shape,
    # parts of arrays
    slicing.slice_,
    slicing.pad,
    slicing.update_slice,
    slicing.concat,
    indexing.take,
    indexing.checked_indices,
    indexing.scatter_add,
    indexing.scatter_set,
    # reductions and products
    structural.sum_,
    reductions.prod,
    reductions.max_,
    reductions.min_,
    reductions.any_,
    reductions.all_,
    reductions.argmax,
    reductions.argmin,
    scans.cumsum,
    scans.recurrence,
    sorting.argsort,
    sorting.orders,
    contract.contract,
    composite.logsumexp,
    composite.softmax,
    # functions with rules of their own
    custom.custom,
    # regions that run again and again
    blocks.map_blocks,
    # identities with another derivative
    gradient_ops.zero_grad,
    gradient_ops.disconnected_grad,
    gradient_ops.undefined_grad,
    gradient_ops.grad_clip,
    gradient_ops.grad_scale,
)

OPS_BY_NAME: Mapping[str, Op] = MappingProxyType({op.name: op for op in ALL_OPS})
