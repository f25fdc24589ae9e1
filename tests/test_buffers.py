"""The arena: no two values share memory while both are alive, and it is hardly larger than that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from time import process_time

import numpy as np
import pytest
from arena_places import arena_bytes, places, rounded
from gradc.codegen import lower as lowering
from gradc.codegen.arena_text import arena_text
from gradc.codegen.buffers import Arena, Lifetime, plan
from gradc.codegen.choices import Choices
from gradc.codegen.lower import cut_into_kernels
from gradc.ir.dims import Dim, evaluate_dim, size
from gradc.ir.evaluate import evaluate
from gradc.ir.function import Function, Value, function, parameter
from gradc.ir.loops import Slot
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


def check(lives: Sequence[Lifetime], arena: Arena) -> None:
    """Each value has room, and what is alive at the same time lies apart, unless it is replaced."""
    slots = arena.slots
    assert all(below < number for number, slot in enumerate(slots) for below in slot.on)
    for sizes in ({"n": 0, "m": 3}, {"n": 50, "m": 3}, {"n": 3, "m": 50}):
        where = places(slots, sizes)
        by_begin = sorted(lives, key=lambda life: life.first)
        for i, one in enumerate(by_begin):
            begin, end = where[arena.buffers[one.value].slot]
            assert begin + evaluate_dim(one.bytes, sizes) <= end
            for other in by_begin[i + 1 :]:
                if other.first > one.last:
                    break
                if other.replaces is one.value and other.first == one.last:
                    continue
                low, high = where[arena.buffers[other.value].slot]
                assert high <= begin or end <= low or begin == end or low == high


def test_one_after_another() -> None:
    lives = [life(N, 0, 1), life(N, 1, 2), life(N, 2, 3), life(N, 3, 4)]
    arena = plan(lives)
    check(lives, arena)
    assert arena.slots == (Slot(8 * N), Slot(8 * N, (0,)))


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
    assert arena.slots == (Slot(8 * N),)
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
        for stack in ("by cost", "always", "never"):
            check(lives, plan(lives, stack))


def live_bytes(lives: Sequence[Lifetime], sizes: Mapping[str, int]) -> int:
    """The most bytes that are alive in any one step, each value rounded up as slots are."""
    most: dict[int, int] = {}
    ends = {(one.value, one.last, one.bytes) for one in lives}
    for one in lives:
        count = rounded(evaluate_dim(one.bytes, sizes))
        takes_over = (one.replaces, one.first, one.bytes) in ends
        for step in range(one.first + takes_over, one.last + 1):
            most[step] = most.get(step, 0) + count
    return max(most.values(), default=0)


SIZES = ((1000, 1000), (2000, 30), (30, 2000), (1, 5000), (5000, 1), (7, 300), (50, 20_000))


@pytest.mark.parametrize("seed", [*range(700, 712), 407, 838])
def test_hardly_more_than_the_least(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """On random programs with derivatives the arena has at most 1.3 times what is alive at once."""
    seen: list[Lifetime] = []

    def spy(lives: Sequence[Lifetime], stack: str) -> Arena:
        seen.extend(lives)
        return plan(lives, stack)

    monkeypatch.setattr(lowering, "plan", spy)
    found = cut_into_kernels(with_derivatives(random_function(seed)), Choices())
    check(seen, found.arena)
    for n, m in SIZES:
        sizes = {"n": n, "m": m}
        total = arena_bytes(found.arena.slots, sizes)
        assert total <= 1.3 * live_bytes(seen, sizes) + 1024


def test_small_values_stand_where_a_large_one_was() -> None:
    """Layers would have room for the large value and two small ones beside it."""
    lives = [life(2 * N, 0, 1), life(N, 2, 3), life(N, 2, 4), life(4, 5, 5)]
    layers, arena = plan(lives, "never"), plan(lives)
    for found in (layers, arena):
        check(lives, found)
    assert arena_bytes(layers.slots, {"n": 1000}) == 3 * rounded(8000)
    assert arena_bytes(arena.slots, {"n": 1000}) == 2 * rounded(8000)
    assert arena_text(arena.slots) == "max(16*n, 32)"


def test_the_larger_of_two_piles_is_found_at_the_call() -> None:
    """Two lengths that cannot be compared: an arena that is the least for all of them."""
    lives = [life(N * M, 0, 1), life(N * M, 1, 2), life(400 * N, 3, 4), life(400 * N, 3, 4)]
    lives += [life(400 * N, 4, 5), life(400 * N, 3, 5), life(N * M, 6, 7)]
    arena = plan(lives)
    check(lives, arena)
    for n, m in SIZES:
        sizes = {"n": n, "m": m}
        assert arena_bytes(arena.slots, sizes) == live_bytes(lives, sizes)
    assert arena_text(arena.slots) == "max(12800*n, 16*m*n)"


def test_what_is_good_enough_lies_in_layers() -> None:
    """Nothing has to be computed at a call that is of known size, nor for less than a tenth."""
    lives = [life(N, 0, 3), life(4, 1, 2), life(3, 2, 4), life(N, 4, 6), life(8, 6, 7)]
    assert plan(lives).slots == (Slot(64), Slot(24, (0,)), Slot(8 * N, (1,)))


def test_a_formula_of_many_terms_is_bounded() -> None:
    piles = [Slot(8 * size(name)) for name in "abcdefg"]
    assert arena_text(piles[:2]) == "max(8*a, 8*b)"
    assert arena_text(piles) == "at most 8*a + 8*b + 8*c + 8*d + 8*e + 8*f + 8*g"
    mean = Slot(4 * size("a") + 4 * size("b"))
    assert arena_text([*piles[:2], mean]) == "max(8*a, 8*b)"


def small_after_large(count: int) -> list[Lifetime]:
    """A large value, then two small ones, then a large one again ..."""
    kinds = ((2 * N, 0), (N, 2), (N, 2))
    return [life(length, i + at, i + at + 1) for i in range(0, count, 4) for length, at in kinds]


def test_many_values_take_linear_time() -> None:
    """100,000 values, one after another and all at once: no longer than a few seconds."""
    for lives in (
        [life(N, i, i + 1) for i in range(100_000)],
        [life(i % 700 + 1, i, 100_000) for i in range(100_000)],
        small_after_large(100_000),
    ):
        start = process_time()
        plan(lives)
        assert process_time() - start < 20
    assert arena_text(plan(small_after_large(300)).slots) == "16*n"


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
    assert found.arena.slots == (Slot(8 * N),)
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
    compiled = native(fn, choices=replace(SEPARATE, stack="always"))
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
