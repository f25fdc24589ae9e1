"""`gradc inspect`: what a compiled library holds. Needs neither LLVM nor the language."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from gradc.cli import OK
from gradc.ir.dims import Dim, parse_dim, product
from gradc.runtime.describe import description
from gradc.runtime.elf import elf_fault
from gradc.runtime.manifest import FunctionEntry, ManifestError, read_footer, read_manifest

_ITEM_BYTES = {"f64": 8, "f32": 4, "i64": 8, "i32": 4, "bool": 1}


def inspect_library(options: argparse.Namespace) -> int:
    """Print the manifest, checked against the library's hash; OSError for a foreign file."""
    data = Path(options.library).read_bytes()
    try:
        text = read_footer(data)
        manifest = read_manifest(text)
    except ManifestError as error:
        reason = elf_fault(data, machine="any") or error
        raise OSError(f"{options.library}: {reason}") from error
    if options.json:
        print(json.dumps(json.loads(text), indent=2))
        return OK
    target = manifest.target
    print(f"{options.library}: built by gradc {manifest.gradc_version}, ABI {manifest.gradc_abi}")
    print(f"for {target.triple}, {target.cpu or 'any CPU'}")
    for entry in manifest.functions:
        print(f"\n{description(entry)}")
        print(f"\nMemory of a call:\n    {_arrays(entry)} bytes for arguments and results")
        if entry.workspace:
            print(f"    {entry.workspace} bytes of workspace")
    return OK


def _arrays(entry: FunctionEntry) -> Dim:
    """The bytes of all inputs and outputs."""
    total: Dim = 0
    for array in (*entry.inputs, *entry.outputs):
        lengths = [parse_dim(dim) if isinstance(dim, str) else dim for dim in array.shape]
        total = total + product(lengths) * _ITEM_BYTES[array.dtype]
    return total
