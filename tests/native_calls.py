"""Native functions over tests/native.c, compiled by cc: fixtures for tests of the call path."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from gradc.runtime._core import Library, NativeFunction
from gradc.runtime.manifest import FunctionEntry, RequirementEntry
from native_entries import Make, arrays


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    path = tmp_path_factory.mktemp("native") / "libnative.so"
    source = Path(__file__).with_name("native.c")
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", str(source), "-o", str(path)], check=True)
    return Library(path)


@pytest.fixture
def make(library: Library) -> Make:
    """make("copy8", "n", ["x: f64[n]"], ["y: f64[n]"]): the native function with these types."""

    def native(
        symbol: str,
        sizes: str,
        inputs: list[str],
        outputs: list[str],
        *,
        workspace: str = "none",
        requires: tuple[RequirementEntry, ...] = (),
    ) -> NativeFunction:
        entry = FunctionEntry(
            "f", tuple(sizes.split()), arrays(*inputs), arrays(*outputs), requires
        )
        call, query = library.symbol(symbol), library.symbol(workspace)
        return NativeFunction(call, query, entry, library)

    return native


@pytest.fixture
def copy(make: Make) -> NativeFunction:
    return make("copy8", "n", ["x: f64[n]"], ["y: f64[n]"])


@pytest.fixture
def affine(make: Make) -> NativeFunction:
    return make("affine", "", ["a: f64", "x: f64", "b: f64"], ["y: f64"])


@pytest.fixture
def matvec(make: Make) -> NativeFunction:
    return make("matvec", "d n", ["w: f64[d]", "X: f64[n, d]"], ["z: f64[n]", "total: f64"])
