"""Pipelines: tuples of passes, run in order; each is a function from functions to functions."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import TypeAlias

from gradc.ir.collection import collection_paused
from gradc.ir.function import Function
from gradc.ir.passes.association import associate_products
from gradc.ir.passes.canonical import canonicalize
from gradc.ir.passes.contractions import form_contractions
from gradc.ir.passes.cse import share_common_subexpressions
from gradc.ir.passes.dce import eliminate_dead_code
from gradc.ir.passes.expansion import expand_to_primitives
from gradc.ir.passes.indexing import simplify_indexing
from gradc.ir.passes.pads import join_pads
from gradc.ir.passes.pairs import share_pairs
from gradc.ir.passes.reciprocals import share_reciprocals, share_reciprocals_in_derivatives
from gradc.ir.passes.regions import in_regions
from gradc.ir.passes.scattered_factors import pull_factors_out_of_scatters
from gradc.ir.passes.simplify import simplify_algebra
from gradc.ir.passes.stability import stabilize
from gradc.ir.verify import InvalidFunctionError, verify

Pass: TypeAlias = Callable[[Function], Function]
Pipeline: TypeAlias = tuple[Pass, ...]
Observer: TypeAlias = Callable[[str, Function, float, bool], None]


def optimize_regions(fn: Function) -> Function:
    """`fn` with the regions in it optimized as it is itself."""
    return in_regions(fn, lambda body: optimize(body, DEFAULT))


def optimize_regions_fast(fn: Function) -> Function:
    """The same where results may differ in rounding."""
    return in_regions(fn, lambda body: optimize(body, FAST))


# What a function goes through before it is differentiated: less to differentiate and to store.
BEFORE_DERIVATIVES: Pipeline = (
    eliminate_dead_code,
    canonicalize,
    simplify_indexing,
    share_common_subexpressions,
    stabilize,
    canonicalize,
    associate_products,
    eliminate_dead_code,
)

# What every function goes through before code is made of it; derivatives are in it by then.
DEFAULT: Pipeline = (
    eliminate_dead_code,
    canonicalize,
    simplify_indexing,
    join_pads,
    share_common_subexpressions,
    simplify_algebra,
    stabilize,
    form_contractions,
    associate_products,
    expand_to_primitives,
    canonicalize,
    share_common_subexpressions,
    share_reciprocals_in_derivatives,
    share_pairs,
    pull_factors_out_of_scatters,
    share_common_subexpressions,
    optimize_regions,
    simplify_algebra,
    form_contractions,
    simplify_algebra,
    canonicalize,
    share_common_subexpressions,
    eliminate_dead_code,
)

# The same where results may differ in rounding, as `--fast-math` allows.
FAST: Pipeline = (
    *DEFAULT,
    share_reciprocals,
    optimize_regions_fast,
    share_common_subexpressions,
    simplify_algebra,
    eliminate_dead_code,
)


def optimize(
    fn: Function,
    pipeline: Pipeline = DEFAULT,
    *,
    observe: Observer | None = None,
    check: bool = False,
) -> Function:
    """`fn` after every pass of the pipeline; a pass that has left it as it is need not run again.

    After each pass `observe(name, fn, seconds, changed)` is told the pass' name, what it made, its
    time, and whether that is anything new. With `check` the verifier runs after each pass; an
    InvalidFunctionError then names the pass.
    """
    left: dict[Pass, Function] = {}  # by each pass as it is
    with collection_paused():
        for work in pipeline:
            start = perf_counter()
            made = fn if left.get(work) is fn else work(fn)
            seconds = perf_counter() - start
            if check and made is not fn:
                _verify_after(work, made)
            if observe is not None:
                observe(work.__name__, made, seconds, made is not fn)
            if made is fn:
                left[work] = fn
            fn = made
    return fn


def _verify_after(work: Pass, made: Function) -> None:
    try:
        verify(made)
    except InvalidFunctionError as error:
        raise InvalidFunctionError(f"after the pass {work.__name__}: {error}") from error
