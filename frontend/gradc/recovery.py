"""A source with errors, read piece by piece: each declaration and each statement by itself.

A piece with an error is left out, and the names that it may have declared are lost: what reads
them is silent, so that one mistake is reported once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from gradc import syntax
from gradc.diagnostics import Diagnostic, Refused
from gradc.ir.record import dataclass
from gradc.ir.span import Span
from gradc.lexer import ERROR, Token
from gradc.parse_table import UnexpectedTokenError, load_table, parse
from gradc.syntax_errors import explain


@dataclass(frozen=True, slots=True)
class Pieces:
    """The declarations that could be read, and the names that the others may have declared."""

    items: tuple[syntax.Item, ...]
    lost: frozenset[str]


def parse_tokens(tokens: Sequence[Token], start: str, errors: list[Diagnostic]) -> Any:
    """What the grammar's rule `start` makes of the tokens; None after adding to `errors`."""
    try:
        return parse(load_table(), tokens, start)
    except UnexpectedTokenError as error:
        errors.append(explain(error.token, error.accepted, tokens, start))
    except Refused as refused:
        errors.append(refused.diagnostic)
    return None


def parse_pieces(tokens: Sequence[Token], errors: list[Diagnostic]) -> Pieces:
    """The declarations of a source with errors; those of the syntax are added to `errors`."""
    items: list[syntax.Item] = []
    lost: set[str] = set()
    for piece in _split(tokens):
        item = _parse_item(piece, errors)
        if item is not None:
            items.append(item)
        else:
            lost.update(_names_declared(piece))
    return Pieces(tuple(items), frozenset(lost))


def _parse_item(piece: list[Token], errors: list[Diagnostic]) -> syntax.Item | None:
    found: list[Diagnostic] = []
    if not _is_damaged(piece):
        item: syntax.Item | None = parse_tokens(piece, "item", found)
        if item is not None:
            return item
    braces = [i for i, token in enumerate(piece) if token.type in ("LBRACE", "RBRACE")]
    if piece[0].type != "FN" or len(braces) != 2 or braces[1] != len(piece) - 1:
        errors.extend(found)
        return None
    head, body = piece[: braces[0]], piece[braces[0] + 1 : -1]
    parsed = None if _is_damaged(head) else parse_tokens(head, "head", errors)
    statements = tuple(_parse_statement(part, errors) for part in _split(body))
    if parsed is None:
        return None
    return syntax.FunctionItem(_span(piece), parsed, statements)


def _parse_statement(piece: list[Token], errors: list[Diagnostic]) -> syntax.Statement:
    if not _is_damaged(piece):
        statement: syntax.Statement | None = parse_tokens(piece, "statement", errors)
        if statement is not None:
            return statement
    span = _span(piece)
    return syntax.Statement(span, None, syntax.Unreadable(span, _names_bound(piece)))


def _is_damaged(piece: Sequence[Token]) -> bool:
    """Whether the lexer has reported an error in it already."""
    return any(token.type == ERROR for token in piece)


def _span(piece: Sequence[Token]) -> Span:
    first, last = piece[0], piece[-1]
    return Span(first.file, first.line, first.column, last.end_line, last.end_column)


def _names_declared(piece: Sequence[Token]) -> Iterator[str]:
    """Names that a declaration with an error may have been meant to declare."""
    for previous, token in pairwise((None, *piece)):
        if token is not None and token.type == "NAME":
            before = previous.type if previous is not None else "SEP"
            if before in ("FN", "EXPORT", "CONST", "NAME", "SEP"):
                yield token.text
    for token, following in pairwise(piece):
        if token.type == "NAME" and following.type == "EQUAL":
            yield token.text


def _names_bound(piece: Sequence[Token]) -> tuple[str, ...]:
    """Names that a statement with an error may have been meant to bind: those left of `=`."""
    equal = next((i for i, token in enumerate(piece) if token.type == "EQUAL"), len(piece))
    return tuple(token.text for token in piece[:equal] if token.type == "NAME")


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
