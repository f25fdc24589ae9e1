"""Numbers, and scalars that are stretched, which a traced function has once, however often written.

A chain of thousands of operations `v * 0.99 + 1` would have a constant for each number, and an
equation for each that repeats it along the axes of v: half the graph, all of them equal.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from gradc.tensor.variable import Tensor

_MADE: ContextVar[dict[Hashable, Tensor] | None] = ContextVar("gradc_repetition", default=None)


@contextmanager
def made_once() -> Iterator[None]:
    """What `once` makes inside the `with` block is made once for each key."""
    token = _MADE.set({})
    try:
        yield
    finally:
        _MADE.reset(token)


def once(key: Hashable, make: Callable[[], Tensor]) -> Tensor:
    """What has been made for this key before; outside a block it is made anew each time."""
    made = _MADE.get()
    if made is None:
        return make()
    found = made.get(key)
    if found is None:
        found = made[key] = make()
    return found
