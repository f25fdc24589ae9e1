"""Seeded damage to programs of the language: tokens dropped, doubled, swapped, taken from others.

    python tests/hostile_programs.py SEED COUNT

The command line answers with an exit code and words of its own, and never calls itself defective.
"""

from __future__ import annotations

import contextlib
import io
import random
import re
import sys
import tempfile
from pathlib import Path

from gradc.cli import main as gradc

ROOT = Path(__file__).parent.parent
TOKEN = re.compile(r"[A-Za-z_]\w*|\d[\d._e]*|->|\*\*|//|==|!=|<=|>=|\.\.\.|\s+|.", re.DOTALL)
STRANGE = (
    *("-1", "2**63", "1e400", "0", "nan", "inf", "none", "true", "pi", "f32", "i32", "bool"),
    *("x.T", "x[none]", "x[::-1]", "x[-1]", "[]", "()", "(x, x)", "[[1], [2, 3]]"),
    *("grad(f, wrt: x)", "hessian", "if true then x else", "n", "n * n", "fn", "export", "const"),
    *("}", "{", "]", "(", ",", ":", ";", "\n", "\t", "#", "\0", "\u00e9", "\\"),
    *("derivative of f(x) by pullback(c) { c }", "zeros(-1)", "zeros(2**40)", "arange(0, 1, 0)"),
    *("reshape(x, (-1, -1))", "sum(x, axis: 9)"),
)
COMMANDS = (
    ("check",),
    ("check", "--json"),
    ("check", "--deny-warnings", "--allow", "G0701"),
    ("emit", "--stage=syntax"),
    ("emit", "--stage=gradient"),
    ("emit", "--stage=optimized"),
)


def programs() -> list[str]:
    """The programs of the documents and examples."""
    found = [path.read_text() for path in sorted((ROOT / "examples").rglob("*.grad"))]
    for page in ("language.md", "gradients.md", "custom_rules.md"):
        text = (ROOT / "docs" / page).read_text()
        found += re.findall(r"```grad\n(.*?)```", text, re.DOTALL)
    return found


def damaged(rng: random.Random, sources: list[str]) -> str:
    """A program with one to six changes to its tokens."""
    tokens = TOKEN.findall(rng.choice(sources))
    others = TOKEN.findall(rng.choice(sources))
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        i, j = rng.randrange(len(tokens)), rng.randrange(len(tokens))
        start = rng.randrange(len(others))
        change = rng.randrange(6)
        if change == 0:
            del tokens[i]
        elif change == 1:
            tokens.insert(i, tokens[j])
        elif change == 2:
            tokens[i], tokens[j] = tokens[j], tokens[i]
        elif change == 3:
            tokens[i] = rng.choice(STRANGE)
        elif change == 4:
            tokens[i:i] = others[start : start + rng.randrange(1, 12)]
        else:
            names = [k for k, token in enumerate(tokens) if token.isidentifier()]
            tokens[rng.choice(names)] = tokens[rng.choice(names)]
        tokens = tokens or [" "]
    return "".join(tokens)


def answer(arguments: list[str]) -> tuple[int, str]:
    """Exit code, and what a command prints on both streams."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            code = gradc(arguments)
        except SystemExit as error:
            code = int(error.code or 0)
    return code, out.getvalue()


def check_program(seed: int, folder: Path, sources: list[str]) -> None:
    rng = random.Random(seed)
    text = damaged(rng, sources)
    path = folder / "damaged.grad"
    path.write_text(text, encoding="utf-8")
    command, *options = rng.choice(COMMANDS)
    code, said = answer([command, str(path), *options])
    assert code in (0, 1, 2), f"exit code {code}\n{text}\n{said}"
    assert "Traceback" not in said and "G0901" not in said, f"{text}\n{said}"
    if code == 0 and command == "check" and rng.random() < 0.3:
        check_build(path, text)


def check_build(path: Path, text: str) -> None:
    """What a check accepts can be built, if it exports anything."""
    code, said = answer(["build", str(path), "-o", str(path.with_name("libdamaged.so"))])
    assert code == 0 or (code == 2 and "exports nothing" in said), f"build: {code}\n{text}\n{said}"


def main() -> None:
    """Run programs and print what fails; its seed repeats it."""
    first, count = int(sys.argv[1]), int(sys.argv[2])
    sources = programs()
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(first, first + count):
            try:
                check_program(seed, Path(folder), sources)
            except Exception as error:
                print(f"\nseed {seed}: {type(error).__name__}: {str(error)[:1500]}")


if __name__ == "__main__":
    main()
