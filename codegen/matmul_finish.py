"""The function that is called for parts of a matrix product when they are complete."""

from __future__ import annotations

from gradc.codegen.loop_text import LoopText

FINISH_PARAMETERS = "ptr %context, i64 %batch, i64 %row, i64 %rows, i64 %column, i64 %columns"
FINISH = "ptr %finish, ptr %context, i64 %index, i1 %turned"  # what is handed on to `finish`
FINISH_NAMES = ("%finish", "%context", "%index", "%turned")


def is_given(body: LoopText) -> str:
    """Whether there is a function to call."""
    return body.emit("icmp ne ptr %finish, null")


def call_finish(
    body: LoopText,
    part: tuple[str | int, str, str | int, str],
    index: str = "%index",
    turned: str = "%turned",
) -> None:
    """Call `finish` for rows and columns of the product as it is computed, perhaps turned."""
    row, rows, column, columns = part
    given = (
        body.select("i64", turned, column, row),
        body.select("i64", turned, columns, rows),
        body.select("i64", turned, row, column),
        body.select("i64", turned, rows, columns),
    )
    body.call("%finish", FINISH_PARAMETERS, "%context", index, *given)
