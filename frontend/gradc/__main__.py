"""`python -m gradc`, and the command `gradc`."""

import sys

INTERRUPTED = 130


def main() -> int:
    """Run the command line; Ctrl-C ends it quietly, also while its modules are being loaded."""
    try:
        from gradc import cli

        return cli.main()
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
