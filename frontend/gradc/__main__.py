"""`python -m gradc`, and the command `gradc`."""

import gc
import sys

INTERRUPTED = 130


def main() -> int:
    """Run the command line; Ctrl-C ends it quietly, also while its modules are being loaded.

    The process is short: looking for cycles of garbage, also at its end, would be a tenth of it.
    """
    gc.set_threshold(100_000, 20, 20)
    try:
        from gradc import cli

        return cli.main()
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        gc.freeze()


if __name__ == "__main__":
    sys.exit(main())
