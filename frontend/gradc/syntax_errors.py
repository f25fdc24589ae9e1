"""Words for a token that does not fit: what was expected, what stands there, what to write."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from gradc.diagnostics import Diagnostic, Label
from gradc.lexer import KEYWORDS, SYMBOLS, Token

_SHOWN = (
    {type: f"`{symbol}`" for symbol, type in SYMBOLS.items()}
    | {keyword.upper(): f"`{keyword}`" for keyword in KEYWORDS}
    | {"TEXT": "text in quotes", "EXTERN": "`extern`"}
    | {"NAME": "a name", "NUMBER": "a number", "SEP": "a line end", "$END": "the end"}
)
_EXPRESSION = frozenset(("NAME", "NUMBER", "LPAR", "LSQB"))
_PREFIXES = frozenset(("MINUS", "PLUS", "NOT", "IF"))
_BINARY = frozenset(
    (
        *("PLUS", "MINUS", "STAR", "SLASH", "FLOOR", "PERCENT", "AT", "POWER"),
        *("EQ", "NE", "LE", "LT", "GE", "GT", "AND", "OR"),
    )
)
_EXTERNAL = 'a C function is declared without a body: `extern fn f(x: f64) -> f64 from "file.c"`'
_FROM_ELSEWHERE = {
    "def": "a function starts with `fn`",
    "func": "a function starts with `fn`",
    "function": "a function starts with `fn`",
    "return": "the last expression of a function is its result, without `return`",
    "let": "a name is bound by `name = value`",
    "var": "a name is bound by `name = value`",
    "for": "there are no loops over elements; write array operations",
    "while": "there are no loops over elements; write array operations",
    "import": "a module is one file",
    "from": "a module is one file",
    "lambda": "give the function a name: `fn name(x: f64) -> f64 { ... }`",
    "elif": "write `else if`",
    "extern": _EXTERNAL,
}


def explain(
    token: Token | None, expected: Collection[str], piece: Sequence[Token], start: str
) -> Diagnostic:
    """The diagnostic for a token (None: the end) that the rule `start` does not expect here."""
    index = next((i for i, t in enumerate(piece) if t is token), len(piece))
    previous = piece[index - 1] if index else None
    if token is None:
        token = _end(previous)
    span = token.span
    message = f"expected {_list_expected(expected, start)}, found {_found(token, start)}"
    is_external = bool(piece) and piece[0].type == "EXTERN"
    advice = _EXTERNAL if is_external else _advice(token, previous, expected, piece[:index])
    return Diagnostic("G0108", message, Label(span), help=(advice,) if advice else ())


def _end(previous: Token | None) -> Token:
    """A token that stands behind the last one."""
    if previous is None:
        return Token("$END", "", "", 1, 1, 1, 2, 0, 0)
    line, column, stop = previous.end_line, previous.end_column, previous.end_pos
    return Token("$END", "", previous.file, line, column, line, column + 1, stop, stop)


def _found(token: Token, start: str) -> str:
    if token.type == "$END":
        return "the end of the file" if start == "module" else "the end of the line"
    if token.type == "SEP":
        return "the end of the line" if token.text == "\n" else "`;`"
    return f"`{token.text}`"


def _list_expected(expected: Collection[str], start: str) -> str:
    rest = set(expected) - {"DERIVATIVE", "EXTERN"}  # names, as far as `of`, `fn` do not follow
    words = []
    if rest >= _EXPRESSION:
        rest -= _EXPRESSION | _PREFIXES
        words.append("an expression")
    elif rest >= _BINARY:
        # After a whole expression nearly every operator may follow: name what ends it instead.
        rest -= _BINARY | {"DOT", "LPAR", "LSQB"}
        words.append("an operator")
    if "$END" in rest or "SEP" in rest:
        rest -= {"$END", "SEP"}
        words.append("a declaration" if start == "module" and not words else "the end of the line")
    words.extend(sorted(_SHOWN.get(type, type) for type in rest))
    words = words or ["the end"]
    if len(words) > 5:
        words = [*words[:4], "another continuation"]
    return " or ".join((", ".join(words[:-1]), words[-1])) if len(words) > 1 else words[0]


def _advice(
    token: Token, previous: Token | None, expected: Collection[str], before: Sequence[Token]
) -> str:
    foreign = next((t for t in (token, previous) if t and t.text in _FROM_ELSEWHERE), None)
    if foreign is not None:
        return _FROM_ELSEWHERE[foreign.text]
    if token.type == "EQUAL":
        return _advice_on_equal(previous, before)
    if "NAME" in expected and token.text in KEYWORDS and "NUMBER" not in expected:
        return f"`{token.text}` is a word of the language and cannot be a name"
    if token.type in ("$END", "SEP") and previous is not None and previous.type in _BINARY:
        return "an expression goes on over line ends inside parentheses"
    if token.type in _BINARY and previous is None:
        return "an expression goes on over line ends inside parentheses"
    if token.type == "IF" and previous is not None and previous.type in _BINARY | _PREFIXES:
        return "a choice beside an operator stands in parentheses: `a + (if c then x else y)`"
    if token.type == "IF":
        return "a choice is written `if condition then a else b`"
    if "THEN" in expected:
        return "a choice is written `if condition then a else b`"
    if "ELSE" in expected:
        return "every `if` has an `else`: `if condition then a else b`"
    if "COLON" in expected and before and before[0].type == "FN":
        return "every parameter has a type, as in `x: f64[n]`"
    if token.type == "LBRACE" and before and before[0].type != "FN":
        return "braces hold the body of a function: `fn name(x: f64) -> f64 { ... }`"
    return ""


def _advice_on_equal(previous: Token | None, before: Sequence[Token]) -> str:
    if previous is not None and previous.type in _BINARY:
        return "a name is bound once; write `new = old + ...` with a new name"
    depth = 0
    for token in before:
        depth += (token.text in ("(", "[")) - (token.text in (")", "]"))
    if depth > 0 and previous is not None and previous.type == "NAME":
        return f"named arguments are written `{previous.text}: value`; equality is `==`"
    return "equality is written `==`"
