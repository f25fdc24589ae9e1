"""`python -m gradc`, and the command `gradc`."""

import gc
import os
import sys
from contextlib import suppress
from typing import NoReturn

INTERRUPTED = 130


def main() -> NoReturn:
    """Run the command line; Ctrl-C ends it quietly, also while its modules are being loaded.

    The process is short: a tenth of it would be looking for cycles of garbage, and taking LLVM and
    the interpreter apart before the system takes back their memory anyway.
    """
    gc.set_threshold(100_000, 20, 20)
    try:
        from gradc import cli

        code = cli.main()
    except KeyboardInterrupt:
        code = INTERRUPTED
    _leave(code)


def _leave(code: int) -> NoReturn:
    """End the process; what it has written is written."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):  # there is none, or nobody reads it
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
