"""The LALR(1) table of grammar.lark, computed by Lark ahead of time, and the machine that runs it.

Importing Lark and analysing the grammar takes longer than a build should, so the table lies
beside the grammar as JSON. It holds the grammar's hash: after an edit of grammar.lark the table is
computed at every start, until `python -m gradc.parse_table` has written it anew.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from gradc.ir.record import dataclass
from gradc.lexer import Token
from gradc.runtime.digest import sha256
from gradc.tree_builder import TreeBuilder

STARTS = ("module", "item", "head", "statement")
END = "$END"
FILE = "parse_table.json"
_FOLDER = Path(__file__).parent  # importlib.resources would take longer than parsing


@dataclass(frozen=True, slots=True)
class Rule:
    """A production: the symbol it makes, from how many, and what becomes of their values.

    `build` makes the value from the list of parts; None passes the only part on. Parts at `spliced`
    are lists of parts themselves, made by the helper rules of `*` and `[ ]`.
    """

    origin: str
    length: int
    build: Callable[[list[Any]], Any] | None
    spliced: tuple[int, ...]
    passes_one: bool


@dataclass(frozen=True, slots=True)
class ParseTable:
    """`states[s][symbol]` is the state to go to, or -1 - r to reduce by rule r."""

    states: tuple[Mapping[str, int], ...]
    rules: tuple[Rule, ...]
    starts: Mapping[str, int]
    ends: Mapping[str, int]


class UnexpectedTokenError(Exception):
    """The token (None: the end) fits no rule; `accepted` are the terminals that would have."""

    def __init__(self, token: Token | None, accepted: frozenset[str]) -> None:
        self.token, self.accepted = token, accepted
        super().__init__(token.text if token else "the end")


def parse(table: ParseTable, tokens: Iterable[Token], start: str) -> Any:
    """What the rule `start` makes of the tokens. Raises UnexpectedTokenError; no recursion."""
    stack = [table.starts[start]]
    values: list[Any] = []
    states = table.states
    for token in tokens:
        kind = token.type
        while True:
            action = states[stack[-1]].get(kind)
            if action is None:
                raise UnexpectedTokenError(token, _accepted(table, stack, table.ends[start]))
            if action >= 0:
                break
            _reduce(table, -1 - action, stack, values)
        stack.append(action)
        values.append(token)
    end = table.ends[start]
    while stack[-1] != end:
        action = states[stack[-1]].get(END)
        if action is None:
            raise UnexpectedTokenError(None, _accepted(table, stack, end))
        _reduce(table, -1 - action, stack, values)
    return values[-1]


def _reduce(table: ParseTable, number: int, stack: list[int], values: list[Any]) -> None:
    rule = table.rules[number]
    length = rule.length
    if rule.build is None and length == 1 and not rule.spliced:
        stack[-1] = table.states[stack[-2]][rule.origin]
        return
    parts: list[Any] = []
    if length:
        parts = values[-length:]
        del stack[-length:], values[-length:]
    if rule.spliced:
        parts = _spliced(parts, rule.spliced)
    if rule.build is not None and not (rule.passes_one and len(parts) == 1):
        values.append(rule.build(parts))
    else:
        values.append(parts[0])
    stack.append(table.states[stack[-1]][rule.origin])


def _spliced(parts: list[Any], at: Sequence[int]) -> list[Any]:
    """The parts with the lists among them opened; a list that comes first is reused, not copied."""
    found: list[Any] = parts[0] if 0 in at else []
    for i, part in enumerate(parts):
        if i in at:
            if i:
                found.extend(part)
        else:
            found.append(part)
    return found


def _accepted(table: ParseTable, stack: Sequence[int], end: int) -> frozenset[str]:
    """The terminals that could come next: those that reductions lead to a shift."""
    return frozenset(
        kind
        for kind in table.states[stack[-1]]
        if kind.isupper() and _leads_to_shift(table, stack, kind, end)
    )


def _leads_to_shift(table: ParseTable, stack: Sequence[int], kind: str, end: int) -> bool:
    copy = list(stack)
    while True:
        if kind == END and copy[-1] == end:
            return True
        action = table.states[copy[-1]].get(kind)
        if action is None:
            return False
        if action >= 0:
            return True
        rule = table.rules[-1 - action]
        if rule.length:
            del copy[-rule.length :]
        copy.append(table.states[copy[-1]][rule.origin])


# Loading and computing


@cache
def load_table() -> ParseTable:
    """The table of this package's grammar."""
    grammar = (_FOLDER / "grammar.lark").read_bytes()
    data = None
    stored = _FOLDER / FILE
    if stored.is_file():
        data = json.loads(stored.read_bytes())
    if data is None or data["grammar"] != sha256(grammar).hexdigest():
        data = compute(grammar)
    return _table(data)


def compute(grammar: bytes) -> dict[str, Any]:
    """The table as JSON data. Raises Lark's GrammarError for a grammar that is not LALR(1)."""
    import lark
    from lark.parsers.lalr_analysis import Shift

    class GivenTokens(lark.lexer.Lexer):
        def __init__(self, lexer_conf: object) -> None:
            pass

        def lex(self, lexer_state: Any, parser_state: Any) -> Any:
            raise NotImplementedError("the tokens are made by gradc.lexer")

    parser: Any = lark.Lark(
        grammar.decode(),
        parser="lalr",
        lexer=GivenTokens,
        start=list(STARTS),
        keep_all_tokens=True,
        maybe_placeholders=False,
    )
    table = parser.parser.parser._parse_table
    rules = sorted(parser.rules, key=str)
    number = {rule: i for i, rule in enumerate(rules)}
    order = _numbered(table)
    states = [
        {
            symbol: order[target] if action is Shift else -1 - number[target]
            for symbol, (action, target) in sorted(table.states[state].items())
        }
        for state in order
    ]
    return {
        "grammar": sha256(grammar).hexdigest(),
        "states": states,
        "rules": [_rule_data(rule) for rule in rules],
        "starts": {start: order[table.start_states[start]] for start in STARTS},
        "ends": {start: order[table.end_states[start]] for start in STARTS},
    }


def _numbered(table: Any) -> dict[Any, int]:
    """Numbers for the states, the same in every run: breadth first from the starts."""
    order = {table.start_states[start]: i for i, start in enumerate(STARTS)}
    queue = list(order)
    for state in queue:
        for _, (_, target) in sorted(table.states[state].items(), key=lambda item: item[0]):
            if target in table.states and target not in order:
                order[target] = len(order)
                queue.append(target)
    return order


def _rule_data(rule: Any) -> list[Any]:
    names = [symbol.name for symbol in rule.expansion]
    helpers = [i for i, name in enumerate(names) if name.startswith("_")]
    is_inlined = bool(rule.options.expand1) and not rule.alias
    return [rule.origin.name, rule.alias or rule.origin.name, len(names), helpers, is_inlined]


def _as_they_are(parts: list[Any]) -> list[Any]:
    return parts


def _table(data: Mapping[str, Any]) -> ParseTable:
    builder = TreeBuilder()
    rules = []
    for origin, callback, length, spliced, passes_one in data["rules"]:
        build: Callable[[list[Any]], Any] | None = None
        if origin.startswith("_"):
            build = _as_they_are
        elif not (passes_one and length == 1 and not spliced):
            build = getattr(builder, callback)
        rules.append(Rule(origin, length, build, tuple(spliced), passes_one))
    return ParseTable(tuple(data["states"]), tuple(rules), data["starts"], data["ends"])


def main() -> None:
    """Write the table beside the grammar."""
    grammar = _FOLDER / "grammar.lark"
    target = grammar.resolve().with_name(FILE)
    data = compute(grammar.read_bytes())
    target.write_text(json.dumps(data, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
