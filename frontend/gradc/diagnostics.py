"""Diagnostics: what is wrong in a .grad file, where, why, and what to do about it."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field, replace
from itertools import groupby

from gradc.ir.record import dataclass
from gradc.ir.span import Span

MAX_SHOWN = 100  # errors printed in one run
MAX_LINE = 160  # characters of a source line that are shown
TAB = 4


@dataclass(frozen=True, slots=True)
class Label:
    """A piece of the source and what is to be said about it."""

    span: Span
    text: str = ""


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One error or warning: a stable code, the message, the place, its causes' places, advice."""

    code: str
    message: str
    primary: Label
    causes: tuple[Label, ...] = ()
    help: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def span(self) -> Span:
        return self.primary.span

    @property
    def severity(self) -> str:
        return "warning" if self.code.startswith("G07") else "error"


class DiagnosticError(Exception):
    """The source has errors: `diagnostics`, sorted by place; `sources` are texts by file name."""

    def __init__(self, diagnostics: Iterable[Diagnostic], sources: Mapping[str, str]) -> None:
        self.diagnostics = sort_diagnostics(diagnostics)
        self.sources = dict(sources)
        super().__init__(self.diagnostics, self.sources)

    def __str__(self) -> str:
        return render(self.diagnostics, self.sources)


class Refused(Exception):
    """A piece of the source cannot be accepted. Raised where it is found, caught by statement."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        self.diagnostic = diagnostic
        super().__init__(diagnostic.message)


def refuse(
    code: str,
    message: str,
    at: Span,
    label: str = "",
    *,
    causes: Iterable[Label] = (),
    help: Iterable[str] = (),
    notes: Iterable[str] = (),
) -> Refused:
    """The exception to raise for one error."""
    diagnostic = Diagnostic(
        code, message, Label(at, label), tuple(causes), tuple(help), tuple(notes)
    )
    return Refused(diagnostic)


def sort_diagnostics(diagnostics: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """By place in the source, without repetitions."""
    unique = dict.fromkeys(diagnostics)
    return tuple(sorted(unique, key=lambda d: (d.span.file, d.span.line, d.span.column, d.code)))


@dataclass(frozen=True, slots=True)
class Palette:
    """Terminal escape sequences; all empty without colour."""

    error: str = ""
    warning: str = ""
    cause: str = ""
    frame: str = ""
    bold: str = ""
    off: str = ""


PLAIN = Palette()
COLOURED = Palette("\x1b[1;31m", "\x1b[1;33m", "\x1b[1;34m", "\x1b[1;34m", "\x1b[1m", "\x1b[0m")


def render(
    diagnostics: Iterable[Diagnostic], sources: Mapping[str, str], palette: Palette = PLAIN
) -> str:
    """The diagnostics as text, with the source lines they speak of, and their number."""
    diagnostics = tuple(diagnostics)
    lines = {file: text.replace("\r\n", "\n").split("\n") for file, text in sources.items()}
    blocks = [_render_one(d, lines, palette) for d in diagnostics[:MAX_SHOWN]]
    severities = [diagnostic.severity for diagnostic in diagnostics]
    total = ", ".join(
        _counted(kind, severities) for kind in ("error", "warning") if kind in severities
    )
    if len(diagnostics) > MAX_SHOWN:
        total += f"; the first {MAX_SHOWN} are shown"
    return "\n\n".join((*blocks, total)) + "\n"


def _counted(word: str, words: list[str]) -> str:
    """`1 error`, `3 warnings`."""
    count = words.count(word)
    return f"{count} {word}{'' if count == 1 else 's'}"


def to_json(diagnostics: Iterable[Diagnostic], **more: object) -> str:
    """The diagnostics (and `more`) as a JSON document, for editors and other programs."""
    return json.dumps({"diagnostics": [_as_data(d) for d in diagnostics], **more}, indent=2) + "\n"


def _as_data(diagnostic: Diagnostic) -> dict[str, object]:
    return {
        "code": diagnostic.code,
        "severity": diagnostic.severity,
        "message": diagnostic.message,
        **_place(diagnostic.primary),
        "causes": [_place(cause) for cause in diagnostic.causes],
        "help": list(diagnostic.help),
        "notes": list(diagnostic.notes),
    }


def _place(label: Label) -> dict[str, object]:
    span = label.span
    return {
        "file": span.file,
        "line": span.line,
        "column": span.column,
        "end_line": span.end_line,
        "end_column": span.end_column,
        "label": label.text,
    }


@dataclass(frozen=True, slots=True)
class _Mark:
    """Columns [start, stop) of a line, from 0, underlined with `sign`."""

    start: int
    stop: int
    sign: str
    text: str


def _render_one(diagnostic: Diagnostic, lines: Mapping[str, list[str]], palette: Palette) -> str:
    span, severity = diagnostic.span, diagnostic.severity
    if severity == "warning":
        palette = replace(palette, error=palette.warning)
    frame = _Frame(palette, len(str(_last_line(diagnostic))))
    title = f"{palette.error}{severity}[{diagnostic.code}]{palette.off}"
    frame.out.append(f"{title}{palette.bold}: {diagnostic.message}{palette.off}")
    frame.out.append(f"{frame.pad}{palette.frame}-->{palette.off} {span}")
    if span.line and lines.get(span.file):
        _render_source(diagnostic, lines[span.file], frame)
    for word, texts in (("note", diagnostic.notes), ("help", diagnostic.help)):
        for text in texts:
            first, *more = text.splitlines() or [""]
            frame.out.append(f"{frame.pad} {palette.frame}={palette.off} {word}: {first}")
            frame.out.extend(f"{frame.pad}         {line}" for line in more)
    return "\n".join(frame.out)


@dataclass(slots=True)
class _Frame:
    """Lines of a rendered diagnostic as they are gathered; `width` is that of the line numbers."""

    palette: Palette
    width: int
    out: list[str] = field(default_factory=list)

    @property
    def pad(self) -> str:
        return " " * self.width

    def add(self, text: str = "", number: str = "") -> None:
        bar = f"{self.palette.frame}{number:>{self.width}} |{self.palette.off}"
        self.out.append(f"{bar} {text}" if text else bar)


def _last_line(diagnostic: Diagnostic) -> int:
    here = diagnostic.span.file
    labels = (diagnostic.primary, *diagnostic.causes)
    return max(label.span.line for label in labels if label.span.file == here)


def _render_source(diagnostic: Diagnostic, lines: list[str], frame: _Frame) -> None:
    marks: dict[int, list[_Mark]] = {}
    labels = [(diagnostic.primary, "^"), *((cause, "-") for cause in diagnostic.causes)]
    for label, sign in labels:
        if label.span.file == diagnostic.span.file and 0 < label.span.line <= len(lines) + 1:
            start, stop = _columns(label.span, lines)
            marks.setdefault(label.span.line, []).append(_Mark(start, stop, sign, label.text))
    frame.add()
    previous = 0
    for number in sorted(marks):
        if previous and number > previous + 1:
            frame.out.append(f"{frame.palette.frame}...{frame.palette.off}")
        line = lines[number - 1] if number <= len(lines) else ""
        _render_line(number, line, marks[number], frame)
        previous = number
    if diagnostic.help or diagnostic.notes:
        frame.add()


def _columns(span: Span, lines: list[str]) -> tuple[int, int]:
    """Start and stop column from 0; a span over several lines is shown to the end of its first."""
    line = lines[span.line - 1] if span.line <= len(lines) else ""
    start = max(span.column - 1, 0)
    stop = span.end_column - 1 if span.end_line == span.line else len(line.rstrip())
    return start, max(stop, start + 1)


def _render_line(number: int, line: str, marks: list[_Mark], frame: _Frame) -> None:
    palette = frame.palette
    cut = _window(line, marks)
    shown, offsets = _expand(line[cut : cut + MAX_LINE])
    before, after = "..." if cut else "", "..." if len(line) > cut + MAX_LINE else ""
    frame.add(f"{before}{shown}{after}", str(number))
    placed = []
    for mark in sorted(marks, key=lambda m: (m.start, m.sign == "^")):
        start = len(before) + _offset(offsets, mark.start - cut)
        stop = len(before) + _offset(offsets, mark.stop - cut)
        placed.append(_Mark(start, max(stop, start + 1), mark.sign, mark.text))
    for row in _annotations(placed, palette):
        frame.add(row)


def _annotations(marks: list[_Mark], palette: Palette) -> Iterator[str]:
    """All underlines with the last one's text, then the other texts, each below its underline."""
    yield _underlines(marks, palette) + _said(marks[-1], palette)
    rest = [mark for mark in marks[:-1] if mark.text]
    while rest:
        mark = rest.pop()
        text, column = "", 0
        for start in sorted({other.start for other in rest if other.start < mark.start}):
            text += " " * (start - column) + f"{palette.cause}|{palette.off}"
            column = start + 1
        yield text + " " * (mark.start - column) + _said(mark, palette).lstrip(" ")


def _said(mark: _Mark, palette: Palette) -> str:
    colour = palette.error if mark.sign == "^" else palette.cause
    return f" {colour}{mark.text}{palette.off}" if mark.text else ""


def _underlines(marks: list[_Mark], palette: Palette) -> str:
    """The line of carets and dashes; carets lie on top."""
    cells = [" "] * max(mark.stop for mark in marks)
    for mark in sorted(marks, key=lambda m: m.sign == "^"):
        cells[mark.start : mark.stop] = mark.sign * (mark.stop - mark.start)
    runs = (("".join(run), sign) for sign, run in groupby(cells))
    colours = {"^": palette.error, "-": palette.cause, " ": ""}
    return "".join(
        f"{colours[sign]}{run}{palette.off}" if sign != " " else run for run, sign in runs
    )


def _window(line: str, marks: list[_Mark]) -> int:
    """The first column to show of a long line, so that the first mark is in sight."""
    if len(line) <= MAX_LINE:
        return 0
    main = next((m for m in marks if m.sign == "^"), marks[0])
    return max(0, min(main.start - MAX_LINE // 2, len(line) - MAX_LINE))


def _expand(line: str) -> tuple[str, list[int]]:
    """The line as a terminal shows it, and the display column of each character and of the end."""
    shown: list[str] = []
    offsets = []
    column = 0
    for char in line:
        offsets.append(column)
        if char == "\t":
            piece = " " * (TAB - column % TAB)
        elif unicodedata.category(char) in ("Cc", "Cf", "Zl", "Zp", "Cs"):
            piece = "\N{REPLACEMENT CHARACTER}"
        else:
            piece = char
        shown.append(piece)
        column += _width(piece)
    offsets.append(column)
    return "".join(shown), offsets


def _offset(offsets: list[int], index: int) -> int:
    if index < 0:
        return 0
    if index < len(offsets):
        return offsets[index]
    return offsets[-1] + min(index - len(offsets) + 1, 1)


def _width(text: str) -> int:
    """Columns that a terminal gives the text: wide characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    wide = sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
    return wide - sum(1 for c in text if unicodedata.combining(c))
