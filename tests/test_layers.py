"""Imports point one way and have no cycles; a module has one name. See docs/architecture.md."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = {
    "gradc": ROOT / "frontend" / "gradc",
    "gradc.ir": ROOT / "ir",
    "gradc.codegen": ROOT / "codegen",
    "gradc.runtime": ROOT / "runtime",
}
# What a folder may import besides itself; the front end may import everything.
ALLOWED = {
    "gradc.ir": (),
    "gradc.codegen": ("gradc.ir", "gradc.runtime.manifest"),
    "gradc.runtime": ("gradc.ir.record",),
}
OUTSIDE = {
    "gradc.ir": {"numpy"},
    "gradc.codegen": {"numpy", "llvmlite"},
    "gradc.runtime": {"numpy"},
    "gradc": {"numpy", "lark", "llvmlite"},
}
STANDARD = {*sys.stdlib_module_names, "_sha256", "_sha2"}  # one until Python 3.11, one from then on


def modules() -> dict[str, Path]:
    """Every module of the package by its import name."""
    found = {}
    for package, folder in FOLDERS.items():
        for path in folder.rglob("*.py"):
            parts = path.relative_to(folder).with_suffix("").parts
            names = [package, *(part for part in parts if part != "__init__")]
            found[".".join(names)] = path
    return found


MODULES = modules()


def imported(path: Path, *, late: bool) -> Iterator[str]:
    """The modules that a file imports; `late`: also inside functions and for type checking only."""
    nodes: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            base = node.module or ""
            names = [f"{base}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES else base for name in names)
        elif late or not _is_late(node):
            nodes.extend(ast.iter_child_nodes(node))


def _is_late(node: ast.AST) -> bool:
    if isinstance(node, ast.If):
        return "TYPE_CHECKING" in ast.unparse(node.test)
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)


def package_of(module: str) -> str:
    return max((p for p in FOLDERS if module == p or module.startswith(f"{p}.")), key=len)


def is_within(module: str, place: str) -> bool:
    return module == place or module.startswith(f"{place}.")


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_point_one_way(module: str) -> None:
    package = package_of(module)
    for name in imported(MODULES[module], late=True):
        assert name.partition(".")[0] not in ("ir", "codegen", "runtime", "frontend"), name
        if package == "gradc" or not is_within(name, "gradc"):
            continue
        allowed = (package, *ALLOWED[package])
        assert any(is_within(name, place) for place in allowed), f"{module} imports {name}"


@pytest.mark.parametrize("module", sorted(MODULES))
def test_other_packages_are_the_declared_ones(module: str) -> None:
    known = OUTSIDE[package_of(module)] | {"gradc"} | STANDARD
    for name in imported(MODULES[module], late=True):
        assert name.partition(".")[0] in known, f"{module} imports {name}"


@pytest.mark.parametrize("start", ["gradc", "gradc.runtime.module", "gradc.codegen.target"])
def test_heavy_packages_are_imported_late(start: str) -> None:
    """llvmlite and lark cost a tenth of a second each: importing these must not load them."""
    seen, waiting = set[str](), [start]
    while waiting:
        module = waiting.pop()
        if module not in seen:
            seen.add(module)
            waiting += imported(MODULES[module], late=False) if module in MODULES else ()
    assert {name for name in seen if name.partition(".")[0] in ("llvmlite", "lark")} == set()


def test_there_are_no_cycles() -> None:
    graph = {
        module: {name for name in imported(path, late=False) if name in MODULES} - {module}
        for module, path in MODULES.items()
    }
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"an import cycle: {' -> '.join(error.args[1])}")
    assert set(order) == set(MODULES)


def test_the_layers_are_not_empty() -> None:
    """The tests above look at something: each folder has modules, and they import each other."""
    for package in FOLDERS:
        assert sum(package_of(module) == package for module in MODULES) > 5
    assert "gradc.ir.dims" in set(imported(MODULES["gradc.ir.types"], late=False))
