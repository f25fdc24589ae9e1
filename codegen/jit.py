"""Objects in this process: LLVM's own linker (ORC) loads them, no file and no `cc` needed."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llvmlite import binding  # type: ignore[import-untyped]


@dataclass(frozen=True, slots=True)
class Library:
    """Loaded code: the addresses of its symbols, valid for as long as this object lives."""

    addresses: Mapping[str, int]
    _keep_alive: Any = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Engine:
    """The process's one JIT, a lock for it, and numbers that name its libraries."""

    jit: binding.LLJIT
    lock: threading.Lock
    numbers: count[int]


def load_object(data: bytes, symbols: Iterable[str]) -> Library:
    """Load a relocatable object and look its symbols up; libm and libc come from this process.

    Raises RuntimeError, with the linker's reason, for an undefined symbol or a foreign object.
    """
    from llvmlite import binding

    names = tuple(symbols)
    engine = _engine()
    builder = binding.JITLibraryBuilder().add_object_img(data).add_current_process()
    for name in names:
        builder.export_symbol(name)
    with engine.lock:
        tracker = builder.link(engine.jit, f"gradc{next(engine.numbers)}")
    return Library({name: tracker[name] for name in names}, tracker)


@cache
def _engine() -> _Engine:
    from llvmlite import binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    return _Engine(binding.create_lljit_compiler(), threading.Lock(), count())
