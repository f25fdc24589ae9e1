"""`gradc.ir.record.dataclass` makes what `dataclasses.dataclass` makes."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from dataclasses import FrozenInstanceError, dataclass, field
from functools import cached_property
from typing import Any

import pytest
from gradc.ir import record

OPTIONS: tuple[dict[str, bool], ...] = (
    {"frozen": True},
    {"frozen": True, "eq": False},
    {"frozen": True, "repr": False},
    {"frozen": False},
    {"frozen": False, "eq": False, "repr": False},
)


def pair(*, slots: bool = True, **options: bool) -> list[Any]:
    """One class, made by the standard library and by gradc."""
    options["slots"] = slots
    made = []
    for decorator in (dataclass, record.dataclass):

        @decorator(**options)  # type: ignore[call-overload]
        class Base:
            """A class."""

            a: int
            b: str = "b"

            def twice(self) -> int:
                return 2 * self.a

        @decorator(**options)  # type: ignore[call-overload]
        class Derived(Base):
            c: list[int] = field(default_factory=list)
            d: int = field(default=3, compare=False, repr=False)

            def __post_init__(self) -> None:
                assert self.d != 13, "thirteen"

        made.append((Base, Derived))
    return made


@pytest.mark.parametrize("often", [1, 2, 1000], ids="compiled from call {} on".format)
@pytest.mark.parametrize("slots", [True, False], ids=["slots", "open"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_same_as_the_standard_library(
    options: dict[str, bool], slots: bool, often: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "_OFTEN", often)
    (base, derived), (own_base, own_derived) = pair(slots=slots, **options)
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
        ((1,), {}), ((1, "x"), {}), ((), {"a": 2, "b": "y"}), ((1,), {"a": 1}), ((), {}),
        ((1, "x", [4]), {}), ((1,), {"d": 4}), ((1, "x", [4], 13), {}), ((1, 2, 3, 4, 5), {}),
        ((1,), {"e": 1}), ((), {"b": "y"}), ((1,), {"c": [5], "b": "y"}),
    ]  # fmt: skip
    for standard, own in ((base, own_base), (derived, own_derived)):
        objects = []
        for arguments, named in calls:
            made = [outcome(c, *arguments, **named) for c in (standard, own)]
            if isinstance(made[0], str):
                assert made[0] == made[1]
                continue
            objects.append(made)
            assert dataclasses.astuple(made[0]) == dataclasses.astuple(made[1])
            if options.get("repr", True):
                assert repr(made[0]) == repr(made[1])
            assert made[1].twice() == 2 * made[1].a
        for x, own_x in objects:
            assert [x == y for y, _ in objects] == [own_x == y for _, y in objects]
            assert [x != y for y, _ in objects] == [own_x != y for _, y in objects]
            assert x != own_x
            hashes = outcome(hash, x), outcome(hash, own_x)
            assert isinstance(hashes[0], int) == isinstance(hashes[1], int)
        assert own.__match_args__ == standard.__match_args__
        assert getattr(own, "__slots__", None) == getattr(standard, "__slots__", None)
        assert slots or all(getattr(own, x, 0) == getattr(standard, x, 0) for x in "abcd")
        assert own.__qualname__ == standard.__qualname__
        assert own.__init__.__qualname__ == standard.__init__.__qualname__
        names = [(f.name, f.type, f.compare) for f in dataclasses.fields(standard)]
        assert [(f.name, f.type, f.compare) for f in dataclasses.fields(own)] == names
        assert dataclasses.is_dataclass(own)


def outcome(work: Any, *arguments: Any, **named: Any) -> Any:
    """What a call gives, or the words of its error."""
    try:
        return work(*arguments, **named)
    except (TypeError, AssertionError, FrozenInstanceError, AttributeError) as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0]}"


@pytest.mark.parametrize("name", ["a", "b", "other"])
def test_frozen_objects_cannot_be_changed(name: str) -> None:
    (standard, _), (own, _) = pair(frozen=True)
    for cls in (standard, own):
        with pytest.raises((FrozenInstanceError, TypeError)):
            setattr(cls(1), name, 2)
        with pytest.raises((FrozenInstanceError, TypeError)):
            delattr(cls(1), name)


def test_open_objects_have_slots_only() -> None:
    _, (own, _) = pair(frozen=False)
    x = own(1)
    x.a = 5
    assert x == own(5)
    with pytest.raises(AttributeError):
        x.other = 1


def test_equal_objects_have_equal_hashes_and_a_dictionary_finds_them() -> None:
    _, (own, _) = pair(frozen=True)
    assert {own(1): "one"}[own(1, "b")] == "one"
    assert own(1) != own(2)
    assert own(float("nan")) != own(float("nan"))
    nan = float("nan")
    assert own(nan) == own(nan)  # as tuples: what is the same object is equal


@record.dataclass(frozen=True, slots=True)
class Point:
    """A class that pickle finds by name."""

    x: float
    next: Point | None = None


@record.dataclass(slots=True)
class Knot:
    x: int
    next: Knot | None = None


def test_copies_pickles_and_replacements() -> None:
    point = Point(1.0, Point(2.0))
    for made in (copy.copy(point), copy.deepcopy(point), pickle.loads(pickle.dumps(point))):
        assert made == point
    assert dataclasses.replace(point, x=3.0) == Point(3.0, Point(2.0))
    match point:
        case Point(x, Point(y)):
            assert (x, y) == (1.0, 2.0)
    assert dataclasses.asdict(point) == {"x": 1.0, "next": {"x": 2.0, "next": None}}


def test_a_cycle_is_shown() -> None:
    knot = Knot(1)
    knot.next = knot
    assert repr(knot) == "Knot(x=1, next=...)"


def test_objects_without_slots_have_what_is_computed_once() -> None:
    @record.dataclass(frozen=True)
    class Sum:
        terms: tuple[int, ...]

        @cached_property
        def value(self) -> int:
            return sum(self.terms)

    found = Sum((1, 2))
    assert found.value == 3 and "value" in vars(found)
    assert found == Sum((1, 2)) and hash(found) == hash(Sum((1, 2)))
    with pytest.raises(FrozenInstanceError):
        found.terms = ()  # type: ignore[misc]


def test_methods_are_compiled_when_they_are_called_often(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []
    compile_ = record._compiled

    def counted(cls: type, name: str, *rest: Any) -> Any:
        compiled.append(name)
        return compile_(cls, name, *rest)

    monkeypatch.setattr(record, "_compiled", counted)
    monkeypatch.setattr(record, "_OFTEN", 3)
    _, (made, _) = pair(frozen=True)
    objects = [made(1), made(1)]
    assert len(set(objects)) == 1 and objects[0] == objects[1]
    assert compiled == []
    objects += [made(1) for _ in range(5)]
    assert compiled == ["__init__"]
    assert len(set(objects)) == 1 and objects[0] == objects[1]
    assert sorted(compiled) == ["__eq__", "__hash__", "__init__"]
