"""How a native function presents itself to Python: signature and documentation."""

from __future__ import annotations

import inspect

from gradc.runtime.manifest import FunctionEntry


def signature(entry: FunctionEntry) -> inspect.Signature:
    """`(w: 'f64[d]', X: 'f64[n, d]', *, out=None) -> 'f64'`."""
    parameters = [
        inspect.Parameter(
            array.name, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=array.type
        )
        for array in entry.inputs
    ]
    if "out" not in entry.parameter_names:
        parameters.append(inspect.Parameter("out", inspect.Parameter.KEYWORD_ONLY, default=None))
    result = ", ".join(array.type for array in entry.outputs)
    return inspect.Signature(
        parameters, return_annotation=result if len(entry.outputs) == 1 else f"({result})"
    )


def documentation(entry: FunctionEntry) -> str:
    """The typed signature, what each argument is, what must hold, and how `out` works."""
    lines = [str(entry), "", "Arguments:"]
    lines += [f"    {array}" for array in entry.inputs] or ["    none"]
    lines += ["", "Returns:", *(f"    {array}" for array in entry.outputs)]
    if entry.requires:
        lines += ["", "Requires:", *(f"    {requirement.why}" for requirement in entry.requires)]
    if "out" not in entry.parameter_names:
        lines += ["", "`out` takes the array, or the tuple of arrays and None, to write into."]
    return "\n".join(lines)
