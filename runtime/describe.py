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


def description(entry: FunctionEntry) -> str:
    """The typed signature, what the function does, what each argument is, and what must hold."""
    lines = [str(entry), ""]
    lines += [entry.documentation, ""] if entry.documentation else []
    lines += ["Arguments:", *(f"    {array}" for array in entry.inputs)]
    lines += [] if entry.inputs else ["    none"]
    lines += ["", "Returns:", *(f"    {array}" for array in entry.outputs)]
    if entry.requires:
        lines += ["", "Requires:", *(f"    {requirement.why}" for requirement in entry.requires)]
    return "\n".join(lines)


def documentation(entry: FunctionEntry) -> str:
    """The docstring of a native function: its description, and how `out` works."""
    if "out" in entry.parameter_names:
        return description(entry)
    out = "`out` takes the array, or the tuple of arrays and None, to write into."
    return f"{description(entry)}\n\n{out}"
