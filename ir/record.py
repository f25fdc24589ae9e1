"""`dataclass` as in the standard library, made in a fifth of the time.

The standard decorator compiles every method of every class by itself: with two hundred classes that
is a fifth of the time from the start of a process to the first gradient. This one compiles a method
when it is first called, `__init__` and comparisons; the others are shared. It makes slotted classes
and knows the options that gradc uses; `fields`, `replace`, `is_dataclass`, `match`, `copy`
and `pickle` treat its classes as they treat others.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, FrozenInstanceError
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(*, slots, frozen=False, eq=True, repr=True):
        """A class with named fields and slots: `dataclasses.dataclass` with `slots=True`."""
        if not slots:
            raise TypeError("a class without slots is made by dataclasses.dataclass")
        return lambda cls: _made(cls, frozen, eq, repr)


@dataclasses.dataclass(frozen=True)
class _Frozen:
    """Where the marks come from by which the standard library knows its classes and fields."""

    field: int


@dataclasses.dataclass
class _Open:
    field: int


_KIND = dataclasses.fields(_Frozen)[0]._field_type  # type: ignore[attr-defined]


def _made(cls: type, frozen: bool, eq: bool, shows: bool) -> type:
    own = _own_fields(cls)
    fields: dict[str, Field[Any]] = {}
    for base in reversed(cls.__mro__[1:]):
        fields.update(getattr(base, "__dataclass_fields__", {}))
    inherited = set(fields)
    fields.update(own)
    namespace = {name: value for name, value in vars(cls).items() if name not in own}
    for name in ("__dict__", "__weakref__"):
        namespace.pop(name, None)
    namespace["__slots__"] = tuple(name for name in own if name not in inherited)
    namespace["__dataclass_fields__"] = fields
    namespace["__dataclass_params__"] = _marks(frozen)
    namespace.setdefault("__match_args__", tuple(fields))
    if shows:
        namespace.setdefault("__repr__", _shown)
    if frozen:
        namespace.update(__setattr__=_refuse_to_set, __delattr__=_refuse_to_delete)
        namespace.setdefault("__getstate__", _state)
        namespace.setdefault("__setstate__", _restore)
    made = type(cls)(cls.__name__, cls.__bases__, namespace)
    made.__qualname__ = cls.__qualname__
    if "__init__" not in namespace:
        _when_called(made, "__init__", lambda: _initializer(made, fields, frozen))
    if eq:
        _compare(made, vars(cls), frozen)
    return made


def _marks(frozen: bool) -> object:
    return getattr(_Frozen if frozen else _Open, "__dataclass_params__")  # noqa: B009


def _own_fields(cls: type) -> dict[str, Field[Any]]:
    """The fields that the class itself annotates."""
    found = {}
    for name, annotation in vars(cls).get("__annotations__", {}).items():
        default = vars(cls).get(name, MISSING)
        made: Field[Any] = (
            default if isinstance(default, Field) else dataclasses.field(default=default)
        )
        made.name, made.type = name, annotation
        made._field_type = _KIND  # type: ignore[attr-defined]
        found[name] = made
    return found


def _when_called(cls: type, name: str, make: Callable[[], Callable[..., Any]]) -> None:
    """Give a class a method that is made, and takes its place, when it is first called."""

    def first(self: object, *args: Any, **kwargs: Any) -> Any:
        method = make()
        setattr(cls, name, method)
        return method(self, *args, **kwargs)

    setattr(cls, name, first)


def _initializer(cls: type, fields: dict[str, Field[Any]], frozen: bool) -> Callable[..., None]:
    """`__init__`, compiled: it runs for every object."""
    known: dict[str, Any] = {"_set": object.__setattr__, "_missing": MISSING}
    parameters, lines = [], []
    for name, entry in fields.items():
        parameter, value = name, name
        if entry.default_factory is not MISSING:
            known[f"_make_{name}"] = entry.default_factory
            parameter = f"{name}=_missing"
            value = f"_make_{name}() if {name} is _missing else {name}"
        elif entry.default is not MISSING:
            known[f"_default_{name}"] = entry.default
            parameter = f"{name}=_default_{name}"
        parameters.append(parameter)
        lines.append(f"_set(self, {name!r}, {value})" if frozen else f"self.{name} = {value}")
    if hasattr(cls, "__post_init__"):
        lines.append("self.__post_init__()")
    made = _compiled(cls, "__init__", ", ".join(["self", *parameters]), lines or ["pass"], known)
    made.__annotations__ = {name: entry.type for name, entry in fields.items()}
    return made


def _compiled(
    cls: type, name: str, parameters: str, lines: Sequence[str], known: dict[str, Any] | None = None
) -> Callable[..., Any]:
    """A method, from its text; `known` are the names that it reads."""
    found = {} if known is None else known
    exec(f"def {name}({parameters}):\n " + "\n ".join(lines), found)
    made: Callable[..., Any] = found[name]
    made.__qualname__ = f"{cls.__qualname__}.{name}"
    made.__module__ = cls.__module__
    return made


def _compare(made: Any, own: Mapping[str, Any], frozen: bool) -> None:
    """`__eq__`, and `__hash__` of what cannot change, by the fields that count."""
    names = [name for name, entry in made.__dataclass_fields__.items() if entry.compare]
    mine, others = (
        f"({''.join(f'{one}.{name}, ' for name in names)})" for one in ("self", "other")
    )
    test = f"return {mine} == {others} if other.__class__ is self.__class__ else NotImplemented"
    if "__eq__" not in own:
        _when_called(made, "__eq__", lambda: _compiled(made, "__eq__", "self, other", [test]))
    if own.get("__hash__") is not None:
        return
    if frozen:
        value = f"return hash({mine})"
        _when_called(made, "__hash__", lambda: _compiled(made, "__hash__", "self", [value]))
    else:
        made.__hash__ = None


@recursive_repr()
def _shown(self: Any) -> str:
    parts = [f"{f.name}={getattr(self, f.name)!r}" for f in dataclasses.fields(self) if f.repr]
    return f"{self.__class__.__qualname__}({', '.join(parts)})"


def _refuse_to_set(self: object, name: str, value: object) -> None:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(self: object, name: str) -> None:
    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _state(self: Any) -> list[Any]:
    return [getattr(self, f.name) for f in dataclasses.fields(self)]


def _restore(self: Any, state: list[Any]) -> None:
    for f, value in zip(dataclasses.fields(self), state, strict=True):
        object.__setattr__(self, f.name, value)
