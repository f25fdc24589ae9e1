"""The arena: no two values share memory while both are alive, and it is hardly larger than that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from time import process_time

import numpy as np
import pytest
from gradc.codegen import lower as lowering
from gradc.codegen.buffers import Arena, Lifetime, arena_text, plan
from gradc.codegen.choices import Choices
from gradc.codegen.lower import cut_into_kernels
from gradc.ir.dims import Dim, evaluate_dim, size
from gradc.ir.evaluate import evaluate
from gradc.ir.function import Function, Value, function, parameter
from gradc.ir.ops import elementwise
from gradc.ir.text import parse_function
from gradc.ir.types import ArrayType, f64
from native import native
from random_programs import random_arguments, random_function, with_derivatives

N, M = size("n"), size("m")
SEPARATE = Choices(store="everything", share=False, rows=False, straight=False)


def life(length: Dim, first: int, last: int, replaces: Value | None = None) -> Lifetime:
    kind = ArrayType(f64, (length,))
    return Lifetime(Value(kind), kind, first, last, replaces)


def rounded(count: int) -> int:
    return -(-count // 64) * 64


def slot_bytes(bounds: Sequence[Dim], sizes: Mapping[str, int]) -> int:
    return max(rounded(evaluate_dim(bound, sizes)) for bound in bounds)


def check(lives: Sequence[Lifetime], arena: Arena) -> None:
    """Values that share a slot follow one another, and the slot holds each of them."""
    by_slot: dict[int, list[Lifetime]] = {}
    for one in lives:
        by_slot.setdefault(arena.buffers[one.value].slot, []).append(one)
    for number, group in by_slot.items():
        for sizes in ({"n": 0, "m": 3}, {"n": 50, "m": 3}, {"n": 3, "m": 50}):
            have = slot_bytes(arena.slots[number], sizes)
            assert all(evaluate_dim(one.bytes, sizes) <= have for one in group)
        ordered = sorted(group, key=lambda one: one.first)
        for before, after in pairwise(ordered):
            taken_over = after.replaces is before.value and before.last == after.first
            assert before.last < after.first or taken_over


def test_one_after_another() -> None:
    lives = [life(N, 0, 1), life(N, 1, 2), life(N, 2, 3), life(N, 3, 4)]
    arena = plan(lives)
    check(lives, arena)
    assert arena.slots == ((8 * N,), (8 * N,))


def test_a_smaller_value_takes_a_larger_slot() -> None:
    lives = [life(2 * N + 1, 0, 1), life(N, 2, 3), life(4, 4, 5), life(3, 6, 7)]
    arena = plan(lives)
    check(lives, arena)
    assert arena_text(arena.slots) == "max(16*n + 8, 32)"


def test_incomparable_sizes_share_a_slot() -> None:
    lives = [life(N, 0, 1), life(M, 2, 3)]
    arena = plan(lives)
    check(lives, arena)
    assert arena_text(arena.slots) == "max(8*m, 8*n)"


def test_a_buffer_is_taken_over() -> None:
    first = life(N, 0, 2)
    second = life(N, 2, 5, first.value)
    third = life(N, 5, 6, second.value)
    arena = plan([first, second, third])
    check([first, second, third], arena)
    assert arena.slots == ((8 * N,),)
    late = life(N, 1, 2, first.value)  # alive together: it may not
    assert len(plan([first, late]).slots) == 2


@pytest.mark.parametrize("seed", range(20))
def test_random_lifetimes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lengths: tuple[Dim, ...] = (1, 7, 100, N, M, N + 5, 2 * N, N * M, (N + 3) // 2)
    lives: list[Lifetime] = []
    for _ in range(60):
        first = int(rng.integers(50))
        length = lengths[rng.integers(len(lengths))]
        ending = [o for o in lives if o.last == first and o.type.size == length]
        old = ending[0].value if ending and rng.random() < 0.5 else None
        lives.append(life(length, first, first + int(rng.integers(12)), old))
    replaced = [one.replaces for one in lives if one.replaces is not None]
    if len(set(replaced)) == len(replaced):
        check(lives, plan(lives))


def live_bytes(lives: Sequence[Lifetime], sizes: Mapping[str, int]) -> int:
    """The most bytes that are alive in any one step, each value rounded up as slots are."""
    most: dict[int, int] = {}
    for one in lives:
        count = rounded(evaluate_dim(one.bytes, sizes))
        for step in range(one.first, one.last + 1):
            most[step] = most.get(step, 0) + count
    return max(most.values(), default=0)


@pytest.mark.parametrize("seed", range(700, 712))
def test_hardly_more_than_the_least(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """On random programs with derivatives the arena has at most 1.3 times what is alive at once."""
    seen: list[Lifetime] = []

    def spy(lives: Sequence[Lifetime]) -> Arena:
        seen.extend(lives)
        return plan(lives)

    monkeypatch.setattr(lowering, "plan", spy)
    found = cut_into_kernels(with_derivatives(random_function(seed)), Choices())
    check(seen, found.arena)
    for sizes in ({"n": 1000, "m": 1000}, {"n": 2000, "m": 30}, {"n": 30, "m": 2000}):
        total = sum(slot_bytes(bounds, sizes) for bounds in found.arena.slots)
        assert total <= 1.3 * live_bytes(seen, sizes) + 1024


def test_many_values_take_linear_time() -> None:
    """100,000 values, one after another and all at once: no longer than a few seconds."""
    for lives in (
        [life(N, i, i + 1) for i in range(100_000)],
        [life(i % 700 + 1, i, 100_000) for i in range(100_000)],
    ):
        start = process_time()
        plan(lives)
        assert process_time() - start < 20


def chain(length: int) -> Function:
    x = parameter(ArrayType(f64, (N, M)), "x")
    value = x
    for _ in range(length):
        value = elementwise.sin(value) + value
    return function("chain", [x], [elementwise.exp(value)])


def test_pointwise_chains_work_in_place() -> None:
    """Each step of a chain overwrites what it reads: one array of temporaries, the same results."""
    fn = parse_function(
        """fn f(x: f64[n]) {
          %0 = sin(x)
          %1 = neg(%0)
          %2 = exp(%1)
          %3 = mul(%2, %2)
          return %3
        }"""
    )
    found = cut_into_kernels(fn, SEPARATE)
    assert found.arena.slots == ((8 * N,),)
    x = np.linspace(-1, 1, 37)
    np.testing.assert_allclose(native(fn, choices=SEPARATE)(x), evaluate(fn, x), rtol=1e-14)


@pytest.mark.parametrize(
    "reader",
    [
        "reverse(%0, axes=[0])",
        "slice(%0, starts=[0], stops=[n], steps=[1])",
        "add(%0, reversed)",
    ],
)
def test_nothing_is_overwritten_that_is_read_elsewhere(reader: str) -> None:
    other = "%1 = reverse(%0, axes=[0])\n" if "reversed" in reader else ""
    last = reader.replace("reversed", "%1")
    fn = parse_function(
        f"fn f(x: f64[n]) {{ %0 = sin(x)\n{other}%5 = {last}\n%6 = neg(%5) return %6 }}"
    )
    x = np.linspace(-1, 1, 37)
    for choices in (SEPARATE, Choices(store="everything"), Choices()):
        np.testing.assert_allclose(native(fn, choices=choices)(x), evaluate(fn, x), rtol=1e-14)


@pytest.mark.parametrize("seed", range(720, 726))
def test_results_in_shared_memory(seed: int) -> None:
    """Everything stored, nothing fused: as much sharing of memory as there can be."""
    fn = with_derivatives(random_function(seed))
    compiled = native(fn, choices=SEPARATE)
    arguments = random_arguments(fn, seed, n=13, m=6)
    for found, wanted in zip(compiled(*arguments), evaluate(fn, *arguments), strict=True):
        scale = max(1.0, float(np.max(np.abs(wanted), initial=0.0)))
        np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-10 * scale)


def test_what_a_result_is_made_of_lives_in_its_memory() -> None:
    """softmax writes its exponentials where their quotients will stand: nothing else is as long."""
    fn = parse_function("""
        fn softmax(x: f64[n]) {
          %0 = exp(x)
          %1 = sum(%0, axes=[0])
          %2 = broadcast(%1, shape=[n], axes=[])
          %3 = div(%0, %2)
          return out = %3
        }
        """)
    found = cut_into_kernels(fn, Choices())
    assert len(found.homes) == 1
    assert all(buffer.type.shape == () for buffer in found.arena.buffers.values())
    for length in (0, 1, 100):
        argument = np.random.default_rng(length).normal(size=length)
        np.testing.assert_allclose(native(fn)(argument)[0], evaluate(fn, argument)[0], rtol=1e-14)
