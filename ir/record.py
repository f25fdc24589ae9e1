"""`dataclass` as in the standard library, made in a tenth of the time.

The standard decorator compiles every method of every class by itself: with two hundred classes that
is a fifth of the time from the start of a process to the first gradient. Here `__init__` and
comparisons are interpreted at first, and compiled when they turn out to be called often: compiling
one takes as long as some sixty interpreted calls, and most classes have few objects in a short
process. The other methods are shared. It knows the options that gradc uses; `fields`, `replace`,
`is_dataclass`, `match`, `copy` and `pickle` treat its classes as they treat others.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import MISSING, Field, FrozenInstanceError
from reprlib import recursive_repr
from types import MemberDescriptorType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(*, slots=False, frozen=False, eq=True, repr=True):
        """A class with named fields: `dataclasses.dataclass`."""
        return lambda cls: _made(cls, slots, frozen, eq, repr)


_OFTEN = 64  # calls
_LEFT = object()  # what an interpreted method gives for a call that the compiled one is to answer


@dataclasses.dataclass(init=False, repr=False, eq=False)
class _Example:
    """Where the marks come from by which the standard library knows its classes and fields."""

    field: int


_KIND = dataclasses.fields(_Example)[0]._field_type  # type: ignore[attr-defined]
_OPEN = getattr(_Example, "__dataclass_params__")  # noqa: B009
_FROZEN = copy(_OPEN)
_FROZEN.frozen = True


def _made(cls: type, slots: bool, frozen: bool, eq: bool, shows: bool) -> type:
    own, given = _own_fields(cls), vars(cls)
    fields: dict[str, Field[Any]] = {}
    for base in reversed(cls.__mro__[1:]):
        fields.update(getattr(base, "__dataclass_fields__", {}))
    new = tuple(name for name in own if name not in fields)
    fields.update(own)
    more: dict[str, Any] = {
        "__dataclass_fields__": fields,
        "__dataclass_params__": _FROZEN if frozen else _OPEN,
    }
    if "__match_args__" not in given:
        more["__match_args__"] = tuple(fields)
    if shows and "__repr__" not in given:
        more["__repr__"] = _shown
    if frozen:
        more.update(__setattr__=_refuse_to_set, __delattr__=_refuse_to_delete)
    made = _with_slots(cls, own, {**more, "__slots__": new}) if slots else _open(cls, own, more)
    if "__init__" not in given:
        _initialize(made, fields, frozen)
    if eq:
        _compare(made, given, frozen)
    return made


def _with_slots(cls: type, own: Mapping[str, Field[Any]], more: Mapping[str, Any]) -> type:
    """The class once more, as slots cannot be added to it."""
    kept = {name: value for name, value in vars(cls).items() if name not in own}
    for name in ("__dict__", "__weakref__"):
        kept.pop(name, None)
    if "__setattr__" in more:  # what is frozen
        kept = {"__getstate__": _state, "__setstate__": _restore, **kept}
    made = type(cls)(cls.__name__, cls.__bases__, {**kept, **more})
    made.__qualname__ = cls.__qualname__
    return made


def _open(cls: type, own: Mapping[str, Field[Any]], more: Mapping[str, Any]) -> type:
    """The class itself; its objects have a dictionary, as `cached_property` needs it."""
    for name, entry in own.items():
        if isinstance(vars(cls).get(name), Field):
            if entry.default is MISSING:
                delattr(cls, name)
            else:
                setattr(cls, name, entry.default)
    for name, value in more.items():
        setattr(cls, name, value)
    return cls


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


def _compiled_when_called_often(
    cls: type, name: str, plain: Callable[..., Any], make: Callable[[], Callable[..., Any]]
) -> None:
    """Give a class the method `plain`, whose place another one takes when it is called often."""
    calls = 0

    def method(self: object, *args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        found = plain(self, *args, **kwargs) if calls < _OFTEN else _LEFT
        if found is not _LEFT:
            return found
        compiled = make()
        setattr(cls, name, compiled)
        return compiled(self, *args, **kwargs)

    setattr(cls, name, method)


def _initialize(cls: type, fields: Mapping[str, Field[Any]], frozen: bool) -> None:
    """`__init__`; what is wrong with a call the compiled one says, as a function does."""
    has_more = hasattr(cls, "__post_init__")
    setters: list[Callable[[object, Any], None]] = []

    def plain(self: Any, *args: Any, **kwargs: Any) -> Any:
        is_whole = len(args) == len(fields) and not kwargs
        values = args if is_whole else _completed(fields, args, kwargs)
        if values is None:
            return _LEFT
        if not setters:
            setters.extend(_setter(cls, name) for name in fields)
        for put, value in zip(setters, values, strict=True):
            put(self, value)
        return self.__post_init__() if has_more else None

    _compiled_when_called_often(cls, "__init__", plain, lambda: _initializer(cls, fields, frozen))


def _completed(
    fields: Mapping[str, Field[Any]], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> list[Any] | None:
    """The value of each field; None where a call gives one too many, twice, or not at all."""
    given = {**dict(zip(fields, args, strict=False)), **kwargs}
    if len(given) < len(args) + len(kwargs):
        return None
    values = []
    for name, entry in fields.items():
        if name in given:
            values.append(given.pop(name))
        elif entry.default is not MISSING:
            values.append(entry.default)
        elif entry.default_factory is not MISSING:
            values.append(entry.default_factory())
        else:
            return None
    return None if given else values


def _setter(cls: type, name: str) -> Callable[[object, Any], None]:
    """What sets a field of an object, also of a frozen one."""
    slot = getattr(cls, name, None)
    if isinstance(slot, MemberDescriptorType):
        return slot.__set__
    return lambda self, value: object.__setattr__(self, name, value)


def _initializer(cls: type, fields: Mapping[str, Field[Any]], frozen: bool) -> Callable[..., None]:
    known: dict[str, Any] = {"_missing": MISSING}
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
        if frozen:
            known[f"_set_{name}"] = _setter(cls, name)
        parameters.append(parameter)
        lines.append(f"_set_{name}(self, {value})" if frozen else f"self.{name} = {value}")
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

    def counted(x: object) -> tuple[Any, ...]:
        return tuple([getattr(x, name) for name in names])

    def equal(self: object, other: object) -> Any:
        alike = other.__class__ is self.__class__
        return counted(self) == counted(other) if alike else NotImplemented

    if "__eq__" not in own:
        _compiled_when_called_often(made, "__eq__", equal, lambda: _equality(made, names))
    if own.get("__hash__") is not None:
        return
    if frozen:
        _compiled_when_called_often(
            made, "__hash__", lambda self: hash(counted(self)), lambda: _hash(made, names)
        )
    else:
        made.__hash__ = None


def _equality(cls: type, names: Sequence[str]) -> Callable[..., Any]:
    mine, others = (_tuple_of(one, names) for one in ("self", "other"))
    test = f"return {mine} == {others} if other.__class__ is self.__class__ else NotImplemented"
    return _compiled(cls, "__eq__", "self, other", [test])


def _hash(cls: type, names: Sequence[str]) -> Callable[..., Any]:
    return _compiled(cls, "__hash__", "self", [f"return hash({_tuple_of('self', names)})"])


def _tuple_of(one: str, names: Sequence[str]) -> str:
    return f"({''.join(f'{one}.{name}, ' for name in names)})"


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
