"""The command line: `gradc check | build | run | emit | inspect | grad-check | info | cache`.

Exit codes: 0 done; 1 errors in the source; 2 wrong usage; 3 a check failed; 4 a file could not be
read or written; 70 a defect of gradc; 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TypeAlias

from gradc.diagnostics import COLOURED, PLAIN, Diagnostic, DiagnosticError, render, to_json

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

OK, ERRORS, USAGE, FAILED, INPUT_OUTPUT, INTERNAL, INTERRUPTED = 0, 1, 2, 3, 4, 70, 130
STAGES = ("syntax", "ir", "gradient", "optimized", "kernels", "loops", "llvm", "asm")


class UsageError(Exception):
    """The command line asks for something that does not make sense; the text says what."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the process' exit code."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # no threads are started for NumPy
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = _parser(arguments)
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help(sys.stderr)
        return USAGE
    try:
        code = _command(options.command)(options)
        sys.stdout.flush()
    except DiagnosticError as error:
        if getattr(options, "json", False):
            sys.stdout.write(to_json(error.diagnostics))
        else:
            show(error.diagnostics, error.sources, options)
        return ERRORS
    except UsageError as error:
        print(f"gradc {options.command}: {error}", file=sys.stderr)
        return USAGE
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except OSError as error:
        print(f"gradc {options.command}: {_reason(error)}", file=sys.stderr)
        return INPUT_OUTPUT
    except MemoryError as error:
        print(f"gradc {options.command}: not enough memory: {error}", file=sys.stderr)
        return INPUT_OUTPUT
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        return _internal(error)
    return code


def _command(name: str) -> Callable[[argparse.Namespace], int]:
    """The function of a command; its module is loaded only now."""
    if name == "inspect":
        from gradc.commands.inspect import inspect_library

        return inspect_library
    if name == "info":
        from gradc.commands.info import show_info

        return show_info
    if name == "grad-check":
        from gradc.commands.grad_check import check_gradients

        return check_gradients
    if name == "cache":
        from gradc.commands.cache import show_or_clean

        return show_or_clean
    if name == "run":
        from gradc.commands.run import run_function

        return run_function
    from gradc.commands import compile

    return {
        "check": compile.check_source,
        "build": compile.build_library,
        "emit": compile.emit_stage,
    }[name]


def show(
    diagnostics: Iterable[Diagnostic], sources: Mapping[str, str], options: argparse.Namespace
) -> None:
    """Print diagnostics for people."""
    palette = COLOURED if _wants_colour(options.color) else PLAIN
    text = render(diagnostics, sources, palette)
    encoding = sys.stderr.encoding or "utf-8"
    sys.stderr.write(text.encode(encoding, "replace").decode(encoding))


def _wants_colour(choice: str) -> bool:
    if choice != "auto":
        return choice == "always"
    wanted = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return wanted and sys.stderr.isatty()


def _reason(error: OSError) -> str:
    """What went wrong with which file."""
    if error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def _internal(error: Exception) -> int:
    """Report a defect of gradc without a traceback."""
    at = getattr(error, "span", None)
    cause = error.__cause__ or error
    reason = str(cause).partition("\n")[0][:200]
    print(f"error[G0901]: internal error: {type(cause).__name__}: {reason}", file=sys.stderr)
    if at is not None:
        print(f" --> {at}", file=sys.stderr)
    print(
        "  = note: this is a bug in gradc, not in your program\n"
        "  = help: please report it with the source file and the output of `gradc info`;\n"
        "          GRADC_TRACEBACK=1 shows where in gradc it happened",
        file=sys.stderr,
    )
    if os.environ.get("GRADC_TRACEBACK"):
        import traceback

        traceback.print_exception(error)
    return INTERNAL


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """The parser for these arguments: all commands are added where none is named."""
    parser = argparse.ArgumentParser(
        prog="gradc",
        description="An ahead-of-time differentiating compiler for array programs.",
        epilog="gradc COMMAND --help says more. Exit codes: 0 done, 1 errors in the source, "
        "2 wrong usage, 3 a check failed, 4 a file could not be read or written, 70 a defect of "
        "gradc, 130 interrupted.",
        allow_abbrev=False,
        formatter_class=_formatter,
    )
    parser.add_argument("--version", action=_ShowVersion, nargs=0, help="show the version")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", prog=parser.prog)
    adders = {
        "check": _add_check,
        "build": _add_build,
        "run": _add_run,
        "emit": _add_emit,
        "inspect": _add_inspect,
        "grad-check": _add_grad_check,
        "info": _add_info,
        "cache": _add_cache,
    }
    named = adders.get(arguments[0]) if arguments else None
    for add in adders.values() if named is None else (named,):
        add(commands)
    return parser


def _formatter(prog: str) -> argparse.HelpFormatter:
    """argparse makes one for every option, too, and would ask shutil, a slow import, for a width"""
    given, columns = os.environ.get("COLUMNS", ""), 80
    with suppress(OSError):  # no terminal
        columns = int(given) if given.isdigit() else os.get_terminal_size(1).columns
    return argparse.HelpFormatter(prog, width=columns - 2)


def _add_check(commands: Commands) -> None:
    check = _on_source(commands, "check", "check a source file and say what it declares")
    check.add_argument("--json", action="store_true", help="diagnostics as JSON")


def _add_build(commands: Commands) -> None:
    build = _on_source(commands, "build", "compile the exports to a shared library")
    build.add_argument("-o", "--output", required=True, metavar="LIB", help="e.g. libmodel.so")
    _add_target(build)
    _add_fast_math(build)
    build.add_argument("--json", action="store_true", help="diagnostics and files as JSON")
    build.add_argument("--time-passes", action="store_true", help="print the time of each pass")
    build.add_argument("--print-after", metavar="PASS", help="print the graph after a pass")
    build.add_argument(
        "--stop-after", metavar="PASS", help="print the graph after a pass and build nothing"
    )


def _add_fast_math(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--fast-math", action="store_true", help="let the last digits of results differ"
    )


def _add_target(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--target", default="native", metavar="T", help="native, a CPU, or triple/cpu/features"
    )


def _add_run(commands: Commands) -> None:
    run = _on_source(commands, "run", "compile a function in this process and call it")
    run.add_argument("function", metavar="FUNCTION")
    run.add_argument(
        "--arg",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a number, JSON ([[1, 2], [3, 4]]), @file.npy or @file.csv; once a parameter",
    )
    run.add_argument("-o", "--output", metavar="FILE.npz", help="write the results there")
    run.add_argument(
        "--trap-nan",
        nargs="?",
        const="results",
        choices=("results", "everywhere"),
        help="say which operation made a result nan or infinite (or, everywhere: any number)",
    )


def _add_emit(commands: Commands) -> None:
    emit = _on_source(commands, "emit", "print functions at a stage of compilation")
    emit.add_argument("--stage", choices=STAGES, default="ir")
    _add_target(emit)
    _add_fast_math(emit)
    emit.add_argument("-f", "--function", metavar="FUNCTION", help="only this function")
    emit.add_argument("-o", "--output", metavar="FILE", help="write to a file")


def _add_inspect(commands: Commands) -> None:
    inspect = _command_parser(commands, "inspect", "show what a compiled library holds")
    inspect.add_argument("library", metavar="LIB")
    inspect.add_argument("--json", action="store_true", help="the manifest as JSON")


def _add_grad_check(commands: Commands) -> None:
    check = _on_source(
        commands, "grad-check", "compare derivatives: forward, reverse and differences"
    )
    check.add_argument("--seed", type=int, default=0, help="of the random points (default 0)")
    check.add_argument("--points", type=int, default=3, help="a function (default 3)")
    check.add_argument("--low", type=float, default=0.2, help="smallest entry (default 0.2)")
    check.add_argument("--high", type=float, default=1.5, help="largest entry (default 1.5)")
    check.add_argument("-f", "--function", metavar="FUNCTION", help="only this function")
    check.add_argument(
        "--why", metavar="PARAMETER", help="say instead where the paths from a parameter end"
    )
    check.add_argument("--json", action="store_true", help="the report as JSON")


def _add_info(commands: Commands) -> None:
    _command_parser(commands, "info", "show versions, the target and the linker")


def _add_cache(commands: Commands) -> None:
    kept = _command_parser(commands, "cache", "show or empty the cache of compiled functions")
    kept.add_argument("action", choices=("info", "clean"))


def _on_source(commands: Commands, name: str, meaning: str) -> argparse.ArgumentParser:
    command = _command_parser(commands, name, meaning)
    command.add_argument("file", metavar="FILE", help="a .grad file; - is standard input")
    command.add_argument(
        "--color",
        choices=("auto", "always", "never"),
        default="auto",
        help="colour in diagnostics (auto: on a terminal)",
    )
    command.add_argument(
        "--deny-warnings", action="store_true", help="refuse a file with warnings, as with errors"
    )
    command.add_argument(
        "--allow",
        action="append",
        default=[],
        metavar="CODE",
        help="no warnings of this code, or all",
    )
    return command


def _command_parser(commands: Commands, name: str, meaning: str) -> argparse.ArgumentParser:
    """A command's options are written out: an abbreviation would change its meaning one day."""
    description = f"{meaning[0].upper()}{meaning[1:]}."
    return commands.add_parser(
        name,
        help=meaning,
        description=description,
        allow_abbrev=False,
        formatter_class=_formatter,
    )


class _ShowVersion(argparse.Action):
    """Looks the version up only when it is asked for: that takes longer than all other options."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from gradc.runtime.manifest import GRADC_VERSION

        print(f"gradc {GRADC_VERSION}")
        parser.exit()


if __name__ == "__main__":
    sys.exit(main())
