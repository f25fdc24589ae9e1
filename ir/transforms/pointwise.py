"""Whether an equation works entry by entry, so that a mask on its result is one on its inputs."""

from __future__ import annotations

from gradc.ir.dims import Shape
from gradc.ir.function import Equation, Function
from gradc.ir.lowering import Composite, External, Literal, Pointwise
from gradc.ir.ops.structural import broadcast


def is_pointwise(made: Equation) -> bool:
    """Whether entry i of the result, and of each derivative, depends on entry i of inputs only.

    True of pointwise ops, and of functions with rules of their own whose regions are made of such
    ops on arrays of one shape.
    """
    if isinstance(made.op.lower, Pointwise):
        return True
    regions = [region for region in made.attrs.values() if isinstance(region, Function)]
    shape = made.outputs[0].shape
    if not regions or not isinstance(made.op.lower, Composite):
        return False
    if any(value.shape != shape for value in (*made.inputs, *made.outputs)):
        return False
    return all(_keeps_entries(part, shape) for region in regions for part in region.equations)


def _keeps_entries(part: Equation, shape: Shape) -> bool:
    """Whether a part of a region is pointwise, or spreads what is the same for all entries.

    The region's arguments have this shape, so that scalars beside them are constants.
    """
    if any(value.shape not in ((), shape) for value in part.outputs):
        return False
    if isinstance(part.op.lower, External):
        return bool(part.attrs["lead"] == part.outputs[0].shape)
    if part.op is broadcast:
        return not part.inputs[0].shape
    return isinstance(part.op.lower, Literal) or is_pointwise(part)
