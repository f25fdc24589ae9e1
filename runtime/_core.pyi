"""The C extension: native functions and the libraries they live in."""

import inspect
from os import PathLike
from typing import Any, final

from gradc.runtime.manifest import ArrayEntry, FunctionEntry

ABI_VERSION: int

@final
class NativeFunction:
    """A compiled function: call it with arrays by position or name, `out=` to write in place."""

    def __new__(
        cls, call: int, workspace: int, entry: FunctionEntry, keep: object = None
    ) -> NativeFunction: ...
    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...
    def bind(self, *args: Any, **kwargs: Any) -> BoundCall:
        """A call without arguments: these, and `out=`, are read and checked once.

        Arrays are read and written in place at each call, so each must be contiguous, aligned and
        of the dtype wanted; numbers stay as they are now. Without `out=`, new arrays are made,
        which every call overwrites.
        """
    def release_workspace(self) -> None:
        """Give back the memory that is kept for the next calls."""
    @property
    def name(self) -> str: ...
    @property
    def __name__(self) -> str: ...
    @property
    def __qualname__(self) -> str: ...
    @property
    def __signature__(self) -> inspect.Signature: ...
    @property
    def entry(self) -> FunctionEntry: ...
    @property
    def sizes(self) -> tuple[str, ...]: ...
    @property
    def inputs(self) -> tuple[ArrayEntry, ...]: ...
    @property
    def outputs(self) -> tuple[ArrayEntry, ...]: ...

@final
class BoundCall:
    """A function bound to its arguments: call it without any."""

    def __call__(self) -> Any: ...
    @property
    def function(self) -> NativeFunction: ...
    @property
    def out(self) -> Any:
        """What a call returns: the array, or the tuple of arrays, that it writes to."""

class Dispatcher:
    """The base of callables that run a native function once one is attached.

    Before that, and where it raises TypeError, `fallback` of the subclass takes the call.
    """

    def attach(self, native: NativeFunction, makes_a_tuple: bool, /) -> None: ...
    def fallback(self, *args: Any, **kwargs: Any) -> Any: ...
    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...

@final
class Library:
    """A shared library, open while this object lives; OSError where it cannot be opened.

    A file `descriptor` that is given is closed together with the library.
    """

    def __new__(cls, path: str | PathLike[str], descriptor: int = -1) -> Library: ...
    def symbol(self, name: str) -> int: ...
