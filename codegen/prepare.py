"""Bring a function into the form the scheduler takes: no composites, every result computed once."""

from __future__ import annotations

from gradc.ir.function import Function, Value, function
from gradc.ir.ops import structural
from gradc.ir.transforms.expand import expand_composites


def prepare(fn: Function) -> Function:
    """The same function with composites expanded, and each result a value of its own."""
    fn = expand_composites(fn)
    seen: set[Value] = set(fn.parameters)
    results: list[Value] = []
    for value in fn.results:
        own = structural.reshape(value, shape=value.shape) if value in seen else value
        seen.add(own)
        results.append(own)
    return function(fn.name, fn.parameters, results, fn.requires, fn.result_names)
