"""`gradc inspect`: what a compiled library holds. Needs neither LLVM nor the language."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from gradc.cli import OK
from gradc.runtime.describe import documentation
from gradc.runtime.manifest import ManifestError, read_footer, read_manifest


def inspect_library(options: argparse.Namespace) -> int:
    """Print the manifest, checked against the library's hash; OSError for a foreign file."""
    try:
        text = read_footer(Path(options.library).read_bytes())
        manifest = read_manifest(text)
    except ManifestError as error:
        raise OSError(f"{options.library}: {error}") from error
    if options.json:
        print(json.dumps(json.loads(text), indent=2))
        return OK
    target = manifest.target
    print(f"{options.library}: built by gradc {manifest.gradc_version}, ABI {manifest.gradc_abi}")
    print(f"for {target.triple}, {target.cpu or 'any CPU'}")
    for entry in manifest.functions:
        print(f"\n{documentation(entry).partition(chr(10) * 2 + '`out`')[0]}")
    return OK
