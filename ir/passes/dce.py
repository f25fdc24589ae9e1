"""Dead code elimination: equations whose outputs nobody reads are dropped."""

from __future__ import annotations

from dataclasses import replace

from gradc.ir.function import Function


def eliminate_dead_code(fn: Function) -> Function:
    """`fn` with only the equations that its results need; conditions on sizes stay.

    Ops are pure, so one sweep from the end finds all that is dead. The order is kept.
    """
    live = set(fn.results)
    kept = []
    for made in reversed(fn.equations):
        if live.isdisjoint(made.outputs):
            continue
        live.update(made.inputs)
        kept.append(made)
    if len(kept) == len(fn.equations):
        return fn
    return replace(fn, equations=tuple(reversed(kept)))
