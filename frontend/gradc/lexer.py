"""Text to tokens, in linear time, within the limits that keep hostile text harmless."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import field, replace
from itertools import pairwise

from gradc.diagnostics import Diagnostic, Label, Refused, refuse
from gradc.ir.record import dataclass
from gradc.ir.span import Span

MAX_SOURCE = 16 * 1024 * 1024  # characters
MAX_DEPTH = 100  # brackets inside one another, and the height of an expression's tree
MAX_LITERAL = 400  # characters of a number
MAX_NAME = 200  # characters of a name
MAX_ERRORS = 200  # the lexer stops after so many
ERROR = "ERROR"  # the type of a token that stands where an error was found

KEYWORDS = frozenset(("fn", "export", "const", "if", "then", "else", "and", "or", "not"))
SYMBOLS = {
    "->": "ARROW", "**": "POWER", "//": "FLOOR", "==": "EQ", "!=": "NE", "<=": "LE", ">=": "GE",
    "<": "LT", ">": "GT", "...": "ELLIPSIS", "=": "EQUAL", "+": "PLUS", "-": "MINUS",
    "*": "STAR", "/": "SLASH", "%": "PERCENT", "@": "AT", ".": "DOT", ",": "COMMA",
    ":": "COLON", "(": "LPAR", ")": "RPAR", "[": "LSQB", "]": "RSQB", "{": "LBRACE",
    "}": "RBRACE",
}  # fmt: skip
CLOSING = {"(": ")", "[": "]", "{": "}"}

_TOKEN = re.compile(
    r"(?P<space>[ \t\f]+|\r(?=\n)|#[^\n]*)"
    r"|(?P<sep>[\n;])"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<number>(?:[0-9][0-9_]*(?:\.(?!\.)[0-9_]*)?|\.[0-9][0-9_]*)(?:[eE][+-]?[0-9_]+)?)"
    r"|(?P<symbol>->|\*\*|//|==|!=|<=|>=|\.\.\.|[-<>=+*/%@.,:()\[\]{}])"
)
_WORD = re.compile(r"\w+")
_BIDI = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069]")


@dataclass(slots=True, eq=False)
class Token:
    """A token; `type` is the name of a terminal of the grammar. Lines and columns count from 1."""

    type: str
    text: str
    file: str
    line: int
    column: int
    end_line: int
    end_column: int
    start_pos: int
    end_pos: int

    @property
    def span(self) -> Span:
        return Span(self.file, self.line, self.column, self.end_line, self.end_column)


@dataclass(slots=True)
class _State:
    text: str
    file: str
    line: int = 1
    line_start: int = 0  # position of the line's first character
    open: list[Token] = field(default_factory=list)
    tokens: list[Token] = field(default_factory=list)
    errors: list[Diagnostic] = field(default_factory=list)

    def make(self, type: str, start: int, stop: int) -> Token:
        column = start - self.line_start + 1
        text = self.text[start:stop]
        end = column + stop - start
        return Token(type, text, self.file, self.line, column, self.line, end, start, stop)

    def span(self, start: int, stop: int) -> Span:
        return self.make("", start, stop).span


def decode(data: bytes, file: str) -> str:
    """The text of a source file: UTF-8, with or without a byte order mark.

    Raises Refused where the bytes are not UTF-8, naming line and column.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig", "replace")
        line = before.count("\n") + 1
        column = len(before) - before.rfind("\n")
        raise refuse(
            "G0101",
            f"this file is not UTF-8: byte 0x{data[error.start]:02x} at offset {error.start}",
            Span(file, line, column, line, column + 1),
            help=("save the file with the encoding UTF-8",),
        ) from None


def tokenize(text: str, file: str) -> tuple[list[Token], list[Diagnostic]]:
    """The tokens of a source text, and the errors found on the way."""
    state = _State(text.removeprefix("\ufeff"), file)
    if len(text) > MAX_SOURCE:
        message = f"this file has {len(text)} characters; a source file has at most {MAX_SOURCE}"
        return [], [Diagnostic("G0107", message, Label(Span(file, 1, 1, 1, 2)))]
    try:
        for token in _scan(state):
            state.tokens.append(token)
    except Refused as refused:
        state.errors.append(refused.diagnostic)
        return [], state.errors
    for opened in reversed(state.open):
        state.errors.append(_not_closed(state, opened))
    if state.open:
        state.tokens.append(state.make(ERROR, len(state.text), len(state.text)))
    while state.tokens and state.tokens[-1].type == "SEP":
        state.tokens.pop()
    if "derivative" in state.text or "extern" in state.text:
        _mark_words(state.tokens)
    return state.tokens, state.errors


def _mark_words(tokens: list[Token]) -> None:
    """Say where a declaration begins with a word that elsewhere is a name.

    A derivative rule: `derivative` before the name `of`; a C function: `extern` before `fn`.
    """
    for i, (token, following) in enumerate(pairwise(tokens)):
        if token.text == "derivative" and following.text == "of" and following.type == "NAME":
            tokens[i] = replace(token, type="DERIVATIVE")
        elif token.text == "extern" and following.type == "FN":
            tokens[i] = replace(token, type="EXTERN")


def _scan(state: _State) -> Iterator[Token]:
    text, position = state.text, 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None and text[position] == '"' and _names_a_text(state.tokens):
            start, position = position, _text_end(state, position)
            yield state.make("TEXT", start, position)
            continue
        if match is None:
            start, position = position, _skip_strange(state, position)
            yield state.make(ERROR, start, position)
            continue
        start, position = match.span()
        kind = match.lastgroup
        if kind == "space":
            if not text.isascii() and text[start] == "#":
                _check_comment(state, start, position)
        elif kind == "sep":
            yield from _separator(state, start)
        elif kind == "name":
            yield _name(state, start, position)
        elif kind == "number":
            yield _number(state, start, position)
            stop, position = position, _check_number_end(state, start, position)
            if position > stop:
                yield state.make(ERROR, stop, position)
        else:
            yield from _symbol(state, start, position)


def _names_a_text(tokens: list[Token]) -> bool:
    """Whether text in quotes may stand here: behind `from` and `symbol` of an `extern fn`."""
    return bool(tokens) and tokens[-1].type == "NAME" and tokens[-1].text in ("from", "symbol")


def _text_end(state: _State, start: int) -> int:
    """Where a text in quotes ends; it holds what can be read, on one line."""
    end = state.text.find("\n", start)
    line = state.text[start : len(state.text) if end < 0 else end]
    closing = line.find('"', 1)
    if closing < 0:
        raise refuse("G0106", 'this `"` is never closed', state.span(start, start + 1))
    strange = next((c for c in line[1:closing] if not c.isprintable() or _BIDI.match(c)), None)
    if strange is not None or closing > MAX_LITERAL:
        what = f"the character {_describe(strange)}" if strange else f"{closing - 1} characters"
        raise refuse("G0104", f"a text does not hold {what}", state.span(start, start + closing))
    return start + closing + 1


def _separator(state: _State, start: int) -> Iterator[Token]:
    """A line end separates outside of ( and [ only; never twice, nor after `{`."""
    inside = bool(state.open) and state.open[-1].text != "{"
    if not inside and state.tokens and state.tokens[-1].type not in ("SEP", "LBRACE"):
        yield state.make("SEP", start, start + 1)
    if inside and state.text[start] == ";":
        opened = state.open.pop()
        state.errors.append(_not_closed(state, opened))
        yield state.make(ERROR, start, start)
        yield state.make("SEP", start, start + 1)
    if state.text[start] == "\n":
        state.line += 1
        state.line_start = start + 1


def _name(state: _State, start: int, stop: int) -> Token:
    token = state.make("NAME", start, stop)
    if token.text in KEYWORDS:
        return state.make(token.text.upper(), start, stop)
    if stop - start > MAX_NAME:
        raise refuse(
            "G0104",
            f"this name has {stop - start} characters; a name has at most {MAX_NAME}",
            state.span(start, start + 20),
        )
    return token


def _number(state: _State, start: int, stop: int) -> Token:
    if stop - start > MAX_LITERAL:
        raise refuse(
            "G0104",
            f"this number has {stop - start} characters; a number has at most {MAX_LITERAL}",
            state.span(start, start + 20),
            help=("17 digits say everything about an f64",),
        )
    return state.make("NUMBER", start, stop)


def _check_number_end(state: _State, start: int, stop: int) -> int:
    """A number must not run into a name: `2x`, `0x1F`, `1e`."""
    tail = _WORD.match(state.text, stop)
    if tail is None:
        return stop
    number, rest = state.text[start:stop], tail.group()[:20]
    advice = f"a product is written `{number} * {rest}`"
    if number == "0" and rest[0] in "xXbBoO":
        advice = "numbers are decimal"
    elif rest in ("j", "J"):
        advice = "there are no complex numbers"
    elif rest in ("f", "F", "d", "L", "l", "u"):
        advice = f"numbers have no suffix; write `f32({number})` for a type"
    message = f"`{number}{rest}` is neither a number nor a name"
    _add(state, "G0103", message, state.span(start, tail.end()), advice)
    return tail.end()


def _symbol(state: _State, start: int, stop: int) -> Iterator[Token]:
    token = state.make(SYMBOLS[state.text[start:stop]], start, stop)
    if token.text in CLOSING:
        if len(state.open) >= MAX_DEPTH:
            raise refuse(
                "G0105",
                f"brackets are nested more than {MAX_DEPTH} deep here",
                token.span,
                help=("bind an inner part to a name of its own",),
            )
        state.open.append(token)
    elif token.text in CLOSING.values():
        count = len(state.errors)
        closes = _close(state, token)
        if len(state.errors) > count:
            yield state.make(ERROR, start, stop)
        if not closes:
            return
        if token.text == "}" and state.tokens and state.tokens[-1].type == "SEP":
            state.tokens.pop()
    yield token


def _close(state: _State, token: Token) -> bool:
    """Take the bracket that `token` closes off the stack; False for one that closes nothing."""
    at = token.span
    if not any(CLOSING[opened.text] == token.text for opened in state.open):
        message = f"this `{token.text}` closes nothing"
        state.errors.append(Diagnostic("G0106", message, Label(at)))
        _check_error_count(state)
        return False
    while CLOSING[state.open[-1].text] != token.text:
        opened = state.open.pop()
        state.errors.append(
            Diagnostic(
                "G0106",
                f"`{opened.text}` is not closed before this `{token.text}`",
                Label(at, f"expected `{CLOSING[opened.text]}` first"),
                (Label(opened.span, "opened here"),),
            )
        )
    state.open.pop()
    return True


def _not_closed(state: _State, opened: Token) -> Diagnostic:
    return Diagnostic(
        "G0106",
        f"this `{opened.text}` is never closed",
        Label(opened.span, f"expected a matching `{CLOSING[opened.text]}`"),
    )


def _skip_strange(state: _State, start: int) -> int:
    """Report characters that stand for nothing in the language; the position after them."""
    char = state.text[start]
    stop = start + 1
    word = _WORD.match(state.text, start)
    advice = ""
    if char in "\"'`":
        message = "there is no text in the language, only numbers and arrays"
        closing = re.compile(f"[^{char}\n]*{char}?").match(state.text, stop)
        stop = closing.end() if closing else stop
    elif char in "&|^~!?$\\":
        message = f"`{char}` is no operator here"
        advice = _OPERATOR_ADVICE.get(char, "")
        while stop < len(state.text) and state.text[stop] == char:
            stop += 1
    elif word:
        stop = word.end()
        message = f"names are written in ASCII letters; `{char}` is {_describe(char)}"
        latin = _latin(word.group())
        if latin:
            advice = f"`{latin}` in ASCII letters looks the same, and is another name"
    else:
        message = f"the character {_describe(char)} has no meaning here"
        plain = _PLAIN.get(char, "")
        advice = f"write `{plain}`" if plain else ""
        while stop < len(state.text) and state.text[stop] == char:
            stop += 1
    _add(state, "G0102", message, state.span(start, stop), advice)
    return stop


_OPERATOR_ADVICE = {
    "&": "write `and`",
    "|": "write `or`",
    "^": "a power is written `**`",
    "~": "write `not`",
    "!": "write `not`, or `!=`",
    "?": "write `if condition then a else b`",
    "\\": "an expression goes on over line ends inside parentheses",
}
_PLAIN = {
    "\u2212": "-", "\u2013": "-", "\u2014": "-", "\u00d7": "*", "\u00b7": "*", "\u22c5": "*",
    "\u00f7": "/", "\u2264": "<=", "\u2265": ">=", "\u2260": "!=", "\u2192": "->",
    "\u201c": '"', "\u201d": '"', "\u2019": "'", "\uff08": "(", "\uff09": ")", "\uff0c": ",",
    "\u00a0": " ", "\u3000": " ", "\u221e": "inf", "\u00b2": "**2", "\u00b3": "**3",
}  # fmt: skip
# Letters of other scripts that look like Latin ones.
_LOOKALIKES = str.maketrans(
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455\u0410\u0412\u0415\u041a\u041c"
    "\u041d\u041e\u0420\u0421\u0422\u0425\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d"
    "\u039f\u03a1\u03a4\u03a7\u03bf\u03bd",
    "aeopcyxijsABEKMHOPCTXABEZHIKMNOPTXov",
)


def _latin(word: str) -> str:
    """The ASCII name that this word looks like, or nothing."""
    latin = unicodedata.normalize("NFKC", word[:MAX_NAME].translate(_LOOKALIKES))
    return latin if latin.isascii() and latin.isidentifier() else ""


def _describe(char: str) -> str:
    name = unicodedata.name(char, "")
    code = f"U+{ord(char):04X}"
    if char == "\0":
        return "NUL (U+0000)"
    return f"{code} ({name.lower()})" if name else code


def _check_comment(state: _State, start: int, stop: int) -> None:
    """Comments may hold any text but the characters that reorder what a reader sees."""
    found = _BIDI.search(state.text, start, stop)
    if found is not None:
        message = (
            f"the character {_describe(found.group())} in this comment makes editors show other "
            "code than is compiled"
        )
        _add(state, "G0102", message, state.span(found.start(), found.end()), "remove it")


def _add(state: _State, code: str, message: str, at: Span, advice: str = "") -> None:
    state.errors.append(Diagnostic(code, message, Label(at), help=(advice,) if advice else ()))
    _check_error_count(state)


def _check_error_count(state: _State) -> None:
    if len(state.errors) >= MAX_ERRORS:
        raise Refused(state.errors.pop())
