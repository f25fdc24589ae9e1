"""External functions in loops: one call for each entry of their leading axes."""

from __future__ import annotations

from contextlib import ExitStack

from gradc.codegen.reader import Reader
from gradc.ir.dims import product
from gradc.ir.function import Equation
from gradc.ir.loops import Buffer, Call, Ref
from gradc.ir.lowering import Index


def lower_external(reader: Reader, equation: Equation) -> None:
    """One call for each entry of the leading axes: sizes, inputs, then the results' addresses."""
    k, attrs = reader.k, equation.attrs
    reader.begin(())
    with ExitStack() as stack:
        at = [stack.enter_context(k.loop(k.size(extent))) for extent in attrs["lead"]]
        arguments: list[Ref | tuple[Buffer, Ref]] = [k.size(dim) for dim in attrs["sizes"]]
        for value in equation.inputs:
            core = value.shape[len(at) :]
            if core:
                start = Index(k, value.shape[: len(at)], at).flat
                offset = k.mul(start, k.size(product(core)))
                arguments.append((reader.buffers[value], offset))
            else:
                arguments.append(reader.at(value, Index(k, value.shape, at)))
        start = Index(k, attrs["lead"], at).flat
        if attrs["returns"] == "value":
            (result,) = equation.outputs
            returned = Ref(result.dtype, k.depth)
            k.append(Call(attrs["symbol"], tuple(arguments), returned))
            k.store(reader.buffers[result], start, returned)
            return
        for result in equation.outputs:
            offset = k.mul(start, k.size(product(result.shape[len(at) :])))
            arguments.append((reader.buffers[result], offset))
        k.append(Call(attrs["symbol"], tuple(arguments), status=attrs["returns"] == "status"))
