"""`gradc inspect`: what a compiled library holds. Needs neither LLVM nor the language."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from gradc.cli import OK
from gradc.runtime.describe import documentation
from gradc.runtime.elf import elf_fault
from gradc.runtime.manifest import ManifestError, read_footer, read_manifest


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
        print(f"\n{documentation(entry).partition(chr(10) * 2 + '`out`')[0]}")
    return OK
