"""Python's collector of cyclic garbage stands aside while a graph grows.

Values and equations refer to one another, and a graph of 100,000 equations is a million objects
that all live. The collector would visit them again and again as more are made, which takes as long
as the work itself.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collection_paused() -> Iterator[None]:
    """No cyclic garbage is collected inside the `with` block, which should end before long.

    Blocks may stand in one another, and in several threads: the first one that found the collector
    running starts it again, so that it never stays off.
    """
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()
