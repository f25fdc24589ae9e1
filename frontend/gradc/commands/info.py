"""`gradc info`: versions, the machine, the linker."""

from __future__ import annotations

import argparse
import platform
from importlib.metadata import PackageNotFoundError, version

from gradc.cli import OK
from gradc.codegen.link import LinkError, find_linker
from gradc.codegen.target import host
from gradc.runtime.manifest import GRADC_VERSION


def show_info(options: argparse.Namespace) -> int:
    """Print what a bug report needs."""
    target = host()
    rows = [("gradc", GRADC_VERSION)]
    rows += [(name, _version(name)) for name in ("numpy", "llvmlite", "lark")]
    rows += [
        ("python", platform.python_version()),
        ("llvm", _llvm_version()),
        ("system", platform.platform()),
        ("target", target.triple),
        ("cpu", target.cpu),
        ("vector width", f"{target.vector_bits} bits"),
        ("linker", _linker()),
    ]
    for name, value in rows:
        print(f"{name:<13} {value}")
    return OK


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed as a package"


def _llvm_version() -> str:
    from llvmlite import binding  # type: ignore[import-untyped]

    return ".".join(map(str, binding.llvm_version_info))


def _linker() -> str:
    try:
        return str(find_linker())
    except LinkError as error:
        return f"none ({error})"
