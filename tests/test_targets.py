"""Results are right for every width of vectors: SSE2, AVX2, and what this machine has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradc
import numpy as np
import pytest
from gradc.codegen.target import Target, compile_to_object, host, parse_target
from gradc.elaborate import elaborate
from gradc.ir.evaluate import evaluate
from gradc.ir.types import DType
from gradc.parser import parse_source
from native import assert_agrees, native
from op_case import Case
from random_programs import random_arguments, random_function, with_derivatives
from test_ops import CASES, assert_near, listed
from test_ops_native import sample, sizes_of
from test_ops_native import with_derivatives as derivatives_of_case

LOGISTIC = Path(__file__).parent.parent / "examples" / "logistic" / "logistic.grad"
NAMES = ("x86-64", "x86-64-v3", "native")
NARROW = NAMES[:2]


def target(name: str) -> Target:
    """A target that this machine runs."""
    if name != "native" and not host().triple.startswith("x86_64"):
        pytest.skip("targets of x86-64")
    found = parse_target(name)
    if found.vector_bits > host().vector_bits:
        pytest.skip(f"this machine has no vectors of {found.vector_bits} bits")
    return found


@pytest.mark.parametrize(
    ("name", "bits", "fma"),
    [("x86-64", 128, False), ("x86-64-v2", 128, False), ("x86-64-v3", 256, True)],
)
def test_vector_width(name: str, bits: int, fma: bool) -> None:
    found = parse_target(f"x86_64-linux-gnu/{name}")
    assert (found.vector_bits, found.has_fma) == (bits, fma)


@pytest.mark.parametrize(
    ("cpu", "bits"),
    [("sapphirerapids", 512), ("graniterapids", 512), ("znver4", 512), ("znver3", 256),
     ("skylake", 256), ("skylake-avx512", 512), ("raptorlake", 256), ("nehalem", 128)],
)  # fmt: skip
def test_vector_width_by_name(cpu: str, bits: int) -> None:
    found = parse_target(f"x86_64-linux-gnu/{cpu}")
    assert found.vector_bits == bits
    assert found.has_fma == (bits >= 256)


def test_vector_width_by_features() -> None:
    assert parse_target("x86_64-linux-gnu/x86-64-v4").vector_bits == 512
    assert parse_target("x86_64-linux-gnu//+avx2,+fma").vector_bits == 256
    assert parse_target("aarch64-linux-gnu/neoverse-n1").vector_bits == 128


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("zzz", "no CPU 'zzz'"),
        ("x86_64-linux-gnu/x86-64-v9", "no CPU 'x86-64-v9'"),
        ("x86_64-linux-gnu//+avx9", "no feature '\\+avx9'"),
        ("aarch64-linux-gnu/znver4", "no CPU 'znver4' for aarch64"),
        ("mars-linux-gnu", "no target 'mars-linux-gnu'"),
        ("a/b/c/d", "triple/cpu/features"),
    ],
)
def test_what_llvm_does_not_know_is_refused(text: str, said: str, capfd: Any) -> None:
    with pytest.raises(ValueError, match=said):
        parse_target(text)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("text", ["i486", "x86_64-linux-gnu//-64bit", "x86_64-linux-gnu//-sse2"])
def test_no_target_ends_the_process(text: str) -> None:
    """LLVM aborts where 64-bit code is wanted of less; every 64-bit machine has both features."""
    if not host().triple.startswith("x86_64"):
        pytest.skip("targets of x86-64")
    target = parse_target(text)
    assert compile_to_object(f'target triple = "{target.triple}"\n', target)


def check(seed: int, name: str) -> None:
    fn = with_derivatives(random_function(seed, equations=10))
    compiled = native(fn, target(name))
    for sizes in ({"n": 4, "m": 5}, {"n": 70, "m": 17}):
        assert_agrees(compiled, fn, random_arguments(fn, seed, **sizes))


@pytest.mark.parametrize("name", NARROW)
@pytest.mark.parametrize("seed", range(900, 908))
def test_random_program(seed: int, name: str) -> None:
    check(seed, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", range(900, 1000))
def test_many_random_programs(seed: int, name: str) -> None:
    check(seed, name)


@pytest.mark.parametrize("name", NARROW)
@listed(CASES[::12])
def test_ops(case: Case, real: DType, name: str) -> None:
    """Every twelfth case of the table of ops: value, tangent and cotangents."""
    fn = derivatives_of_case(case, real)
    compiled = native(fn, target(name))
    for sizes in sizes_of(case):
        arrays = sample(case, real, sizes)
        for actual, wanted in zip(compiled(*arrays), evaluate(fn, *arrays), strict=True):
            assert actual.dtype == wanted.dtype
            assert_near(actual, wanted, case, loosened=10)


@pytest.mark.parametrize("name", NAMES)
def test_the_logistic_library(name: str, tmp_path: Path) -> None:
    """A library for the target is loaded here and agrees with the reference evaluator."""
    module = elaborate(parse_source(LOGISTIC.read_text(encoding="utf-8"), LOGISTIC.name))
    gradc.build(tmp_path / "liblogistic.so", module.exports, target=target(name))
    library = gradc.load(tmp_path / "liblogistic.so")
    rng = np.random.default_rng(5)
    for n, d in ((0, 3), (1, 1), (130, 7), (300, 33)):
        w, p, X = rng.normal(size=d), rng.normal(size=d), rng.normal(size=(n, d))
        y = np.asarray(rng.random(n) < 0.5, float)
        for title, fn in module.exports.items():
            given = {"w": w, "X": X, "y": y, "l2": np.float64(0.01), "p": p}
            arguments = [given[parameter] for parameter in fn.parameter_names]
            with np.errstate(all="ignore"):
                expected = evaluate(fn, *arguments)
            found = library[title](*arguments)
            results = found if isinstance(found, tuple) else (found,)
            for actual, wanted in zip(results, expected, strict=True):
                np.testing.assert_allclose(actual, wanted, rtol=1e-12, atol=1e-13)
