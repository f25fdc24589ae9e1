"""Source text to the syntax tree: the LALR(1) table of grammar.lark run over the tokens.

The whole file is parsed in one go. Only where that fails is it cut into declarations and
statements, each parsed alone (`recovery.py`), so that one run shows every error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gradc import syntax
from gradc.diagnostics import Diagnostic, DiagnosticError
from gradc.lexer import tokenize
from gradc.recovery import parse_pieces, parse_tokens

MAX_RECOVERED = 200_000  # tokens; in a longer file, only the first error is shown


def parse_source(text: str, file: str) -> syntax.Module:
    """The syntax tree of a source text.

    Raises DiagnosticError with every lexical and syntactic error found.
    """
    module, errors = parse_with_errors(text, file)
    if errors:
        raise DiagnosticError(errors, {file: module.text})
    return module


def parse_with_errors(text: str, file: str) -> tuple[syntax.Module, list[Diagnostic]]:
    """The declarations and statements that could be read, and the errors of the others.

    The module says which names the others may have declared.
    """
    text = text.removeprefix("\ufeff")
    tokens, errors = tokenize(text, file)
    first: list[Diagnostic] = []
    if not errors:
        items = parse_tokens(tokens, "module", first)
        if not first:
            return syntax.Module(file, text, _documented(items or (), text)), []
    if len(tokens) >= MAX_RECOVERED:
        return syntax.Module(file, text, ()), errors or first
    pieces = parse_pieces(tokens, errors)  # which repeat `first`
    module = syntax.Module(file, text, _documented(pieces.items, text), pieces.lost)
    return module, errors or first


def _documented(items: Sequence[syntax.Item], text: str) -> tuple[syntax.Item, ...]:
    """The items with the comment lines right above them."""
    if "#" not in text:
        return tuple(items)
    lines = text.split("\n")
    return tuple(
        replace(item, documentation=_comment_above(item.span.line - 1, lines))
        if isinstance(item, syntax.FunctionItem | syntax.Alias | syntax.Export)
        else item
        for item in items
    )


def _comment_above(index: int, lines: Sequence[str]) -> str:
    found: list[str] = []
    while index > 0 and lines[index - 1].lstrip().startswith("#"):
        index -= 1
        found.append(lines[index].strip().lstrip("#").removeprefix(" ").rstrip())
    return "\n".join(reversed(found))
