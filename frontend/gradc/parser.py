"""Source text to the syntax tree: the LALR(1) table of grammar.lark run over the tokens.

The whole file is parsed in one go. Only where that fails is it cut into declarations and
statements, each parsed alone, so that one run shows every error.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from gradc import syntax
from gradc.diagnostics import Diagnostic, DiagnosticError, Refused
from gradc.lexer import Token, tokenize
from gradc.parse_table import UnexpectedTokenError, load_table, parse
from gradc.syntax_errors import explain

MAX_RECOVERED = 200_000  # tokens; in a longer file, only the first error is shown


def parse_source(text: str, file: str) -> syntax.Module:
    """The syntax tree of a source text.

    Raises DiagnosticError with every lexical and syntactic error found.
    """
    text = text.removeprefix("\ufeff")
    tokens, errors = tokenize(text, file)
    if errors:
        raise DiagnosticError(errors, {file: text})
    items = _parse(tokens, "module", errors)
    if errors:
        short = tokens if len(tokens) < MAX_RECOVERED else ()
        raise DiagnosticError(_errors_of_pieces(short) or errors, {file: text})
    return syntax.Module(file, text, _documented(items or (), text))


def _parse(tokens: Sequence[Token], start: str, errors: list[Diagnostic]) -> Any:
    """What the grammar's rule `start` makes of the tokens; None after adding to `errors`."""
    try:
        return parse(load_table(), tokens, start)
    except UnexpectedTokenError as error:
        errors.append(explain(error.token, error.accepted, tokens, start))
    except Refused as refused:
        errors.append(refused.diagnostic)
    return None


def _errors_of_pieces(tokens: Sequence[Token]) -> list[Diagnostic]:
    """The errors of each declaration and statement, parsed alone."""
    errors: list[Diagnostic] = []
    for item in _split(tokens):
        braces = [i for i, token in enumerate(item) if token.type in ("LBRACE", "RBRACE")]
        if item[0].type != "FN" or len(braces) != 2 or braces[1] != len(item) - 1:
            _parse(item, "item", errors)
            continue
        brace = braces[0]
        _parse(item[:brace], "head", errors)
        for statement in _split(item[brace + 1 : -1]):
            _parse(statement, "statement", errors)
    return errors


def _split(tokens: Sequence[Token]) -> Iterator[list[Token]]:
    """The pieces between separators that stand outside of braces."""
    depth = 0
    piece: list[Token] = []
    for token in tokens:
        depth += (token.type == "LBRACE") - (token.type == "RBRACE")
        if token.type == "SEP" and depth == 0:
            if piece:
                yield piece
            piece = []
        else:
            piece.append(token)
    if piece:
        yield piece


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
