"""Einstein summation: the notation read, then contracted two operands at a time, left to right."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_letters

from gradc.errors import GradcTypeError, GradcValueError
from gradc.tensor.linalg import contract, diagonal
from gradc.tensor.operands import ArrayLike, asarray, build, notes
from gradc.tensor.shaping import transpose
from gradc.tensor.source import located
from gradc.tensor.variable import Tensor

Labels = tuple[int, ...]


@located
def einsum(subscripts: str, *operands: ArrayLike) -> Tensor:
    """`einsum("nk,km->nm", a, b)`: products summed over the letters that the result does not have.

    `...` stands for axes without a letter, which broadcast. Without `->` the result has the letters
    that stand once, in alphabetic order. A letter twice in one operand takes its diagonal.
    """
    if not isinstance(subscripts, str):
        raise GradcTypeError("einsum: the first argument is text like 'nk,km->nm'")
    arrays = [asarray(x) for x in operands]
    inputs, out = _read(subscripts, arrays)
    terms = [_without_repeats(x, labels) for x, labels in zip(arrays, inputs, strict=True)]
    x, labels = terms[0]
    for i, (y, other) in enumerate(terms[1:], start=1):
        later = {*out}.union(*(set(rest) for _, rest in terms[i + 1 :]))
        kept = tuple(dict.fromkeys(label for label in (*labels, *other) if label in later))
        x, labels = contract(x, y, labels, other, kept, "einsum"), kept
    summed = tuple(i for i, label in enumerate(labels) if label not in out)
    x = build("sum", x, axes=summed) if summed else x
    labels = tuple(label for label in labels if label in out)
    return transpose(x, tuple(labels.index(label) for label in out))


def _read(subscripts: str, arrays: Sequence[Tensor]) -> tuple[list[Labels], Labels]:
    """The labels of every operand and of the result; letters are numbers, dots negative ones."""
    left, arrow, right = subscripts.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(arrays):
        raise GradcValueError(
            f"einsum: '{subscripts}' is about {len(terms)} operands, {len(arrays)} were given"
        )
    inputs = [
        _labels(term, x.ndim, subscripts, arrays) for term, x in zip(terms, arrays, strict=True)
    ]
    dots = max((sum(label < 0 for label in labels) for labels in inputs), default=0)
    if arrow:
        out = _labels(right, len(right.replace("...", "")) + ("..." in right) * dots, right, arrays)
    else:
        everything = [label for labels in inputs for label in labels]
        once = sorted(n for n in set(everything) if n >= 0 and everything.count(n) == 1)
        out = (*range(-dots, 0), *once)
    unknown = set(out) - {label for labels in inputs for label in labels}
    if unknown or len(set(out)) != len(out):
        raise GradcValueError(
            f"einsum: the result '{right}' must hold letters of the operands, each once"
        )
    return inputs, out


def _labels(term: str, rank: int, subscripts: str, arrays: Sequence[Tensor]) -> Labels:
    before, dots, after = term.partition("...")
    if not set(before + after) <= set(ascii_letters):
        raise GradcValueError(f"einsum: cannot read '{term}' in '{subscripts}'")
    free = rank - len(before) - len(after)
    if free < 0 or (free and not dots):
        raise GradcValueError(
            f"einsum: '{term}' has {len(before) + len(after)} letters for {rank} axes",
            operands=notes(arrays),
        )
    first, last = (tuple(map(ascii_letters.index, part)) for part in (before, after))
    return (*first, *range(-free, 0), *last)


def _without_repeats(x: Tensor, labels: Labels) -> tuple[Tensor, Labels]:
    """The operand with the diagonal taken where a label repeats."""
    for label in labels:
        while labels.count(label) > 1:
            first = labels.index(label)
            second = labels.index(label, first + 1)
            x = diagonal(x, 0, first, second)
            rest = tuple(n for i, n in enumerate(labels) if i not in (first, second))
            labels = (*rest, label)
    return x, labels
