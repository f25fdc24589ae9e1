"""Tokens to the syntax tree: Lark's LALR(1) parser over grammar.lark.

The whole file is parsed in one go. Only where that fails is it cut into declarations and
statements, each parsed alone, so that one run shows every error.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import Any

import lark
from lark.exceptions import UnexpectedToken
from lark.lexer import Lexer

from gradc import syntax
from gradc.diagnostics import Diagnostic, DiagnosticError, Refused
from gradc.lexer import Token, tokenize
from gradc.syntax_errors import explain
from gradc.tree_builder import TreeBuilder

MAX_RECOVERED = 200_000  # tokens; in a longer file, only the first error is shown
STARTS = ("module", "item", "head", "statement")


class _GivenTokens(Lexer):
    """Hands tokens that were made elsewhere to Lark."""

    def __init__(self, lexer_conf: object) -> None:
        pass

    def lex(self, tokens: Any) -> Iterator[Any]:  # type: ignore[override]
        return iter(tokens)


@cache
def _parser() -> lark.Lark:
    return lark.Lark(
        files("gradc").joinpath("grammar.lark").read_text("utf-8"),
        parser="lalr",
        lexer=_GivenTokens,
        start=list(STARTS),
        keep_all_tokens=True,
        maybe_placeholders=False,
        transformer=TreeBuilder(),
    )


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
        return _parser().parse(tokens, start=start)
    except UnexpectedToken as error:
        found: Any = error.token
        found = found if isinstance(found, Token) else None  # at the end, Lark makes its own
        accepted = _accepted(error)
        errors.append(explain(found, accepted, tokens, start))
    except Refused as refused:
        errors.append(refused.diagnostic)
    return None


def _accepted(error: UnexpectedToken) -> Collection[str]:
    """The terminals that could stand where the error is."""
    parser: Any = error.interactive_parser
    accepted: Collection[str] = parser.accepts()
    return accepted


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
        if isinstance(item, syntax.FunctionItem | syntax.Export)
        else item
        for item in items
    )


def _comment_above(index: int, lines: Sequence[str]) -> str:
    found: list[str] = []
    while index > 0 and lines[index - 1].lstrip().startswith("#"):
        index -= 1
        found.append(lines[index].strip().lstrip("#").removeprefix(" ").rstrip())
    return "\n".join(reversed(found))
