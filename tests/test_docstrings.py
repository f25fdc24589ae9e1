"""Every public name says what it is."""

from __future__ import annotations

import inspect
import re
from types import ModuleType
from typing import Any

import gradc
import gradc.gradient
import gradc.tensor as gt
import pytest

MODULES = (gradc, gt, gradc.gradient, gradc.custom, gradc.external)


def public_names() -> list[Any]:
    """Functions and classes; element types, whose class says what they are."""
    found = {}
    for module in MODULES:
        names = getattr(module, "__all__", [n for n in vars(module) if not n.startswith("_")])
        for name in names:
            made = getattr(module, name)
            is_own = getattr(made, "__module__", "").startswith("gradc")
            if is_own and (inspect.isroutine(made) or inspect.isclass(made)):
                found.setdefault(id(made), pytest.param(made, id=f"{module.__name__}.{name}"))
    return list(found.values())


@pytest.mark.parametrize("made", public_names())
def test_a_public_name_has_a_docstring_of_its_own(made: Any) -> None:
    """Sentences, the first of them first; not what a dataclass says by itself."""
    text = made.__doc__
    assert text and text.strip() == text.strip("\n ")
    first, *rest = inspect.cleandoc(text).splitlines()
    assert 3 <= len(first) <= 100
    assert not first.startswith(f"{made.__name__}(")
    assert rest or first.endswith((".", "`", "1"))


def test_derivatives_say_what_they_raise_and_give() -> None:
    for name in ("grad", "jacobian", "hessian", "load", "build", "function"):
        text = inspect.getdoc(getattr(gradc, name)) or ""
        assert re.search(r"Raises|raise|shape", text), name
    for dtype in (gradc.f64, gradc.f32, gradc.i64, gradc.i32, gradc.bool_):
        assert "element type" in (type(dtype).__doc__ or "")


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_a_module_says_what_its_functions_take_and_raise(module: ModuleType) -> None:
    assert module.__doc__
    if module is gt:
        for word in ("shape", "dtype", "GradcTypeError", "GradcValueError", "GradcIndexError"):
            assert word in module.__doc__
