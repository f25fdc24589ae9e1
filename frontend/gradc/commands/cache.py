"""`gradc cache info | clean`: the compiled functions that are kept on disk."""

from __future__ import annotations

import argparse

from gradc.cache import MAX_BYTES, cache_folder, shrink, summary
from gradc.cli import OK


def show_or_clean(options: argparse.Namespace) -> int:
    """Print where the cache is and what it holds, or empty it."""
    folder = cache_folder()
    if folder is None:
        print("there is no cache: GRADC_CACHE is off, or there is no home folder")
        return OK
    if options.action == "clean":
        print(f"{folder}: {shrink(folder, 0)} functions removed")
        return OK
    held = summary(folder)
    print(f"{folder}: {held.entries} functions, {held.bytes:,} bytes of {MAX_BYTES:,} at most")
    return OK
