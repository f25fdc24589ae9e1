"""The mathematical functions in 140 bits, where a double is judged, and the points to judge at."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from gradc.ir.types import DType
from mpmath import MPContext  # type: ignore[import-untyped]

Array = np.ndarray[Any, Any]
MP = MPContext()
MP.prec = 140


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + MP.exp(-x))


def _softplus(x: Any) -> Any:
    return MP.log1p(MP.exp(-abs(x))) + max(x, MP.mpf(0))


EXACT: dict[str, Callable[..., Any]] = {
    "exp": MP.exp,
    "expm1": MP.expm1,
    "log": MP.log,
    "log1p": MP.log1p,
    "tanh": MP.tanh,
    "sigmoid": _sigmoid,
    "softplus": _softplus,
    "sin": MP.sin,
    "cos": MP.cos,
    "erf_from": lambda x, _: MP.erf(x),
    "atan2": MP.atan2,
    "pow": MP.power,
}


@dataclass(frozen=True, slots=True)
class Errors:
    """Errors in units of the last place of the exact value, rounded: the largest, the mean, the
    worst point.
    """

    largest: float
    mean: float
    worst: tuple[float, ...]
    count: int


def measure(name: str, points: tuple[Array, ...], values: Array) -> Errors:
    """The errors of `values` = name(points): infinite for a NaN, or an infinity that is not the
    rounded value.
    """
    exact = [EXACT[name](*(MP.mpf(float(x)) for x in point)) for point in zip(*points, strict=True)]
    errors = np.array([ulp_error(v, e) for v, e in zip(values, exact, strict=True)])
    worst = int(np.argmax(errors))
    point = tuple(float(x[worst]) for x in points)
    return Errors(float(errors[worst]), float(errors.mean()), point, len(errors))


def ulp_error(value: np.floating[Any], exact: Any) -> float:
    """|value - exact| in units of the spacing of floats at `exact`."""
    info = np.finfo(type(value))
    last = float(info.max) - float(np.nextafter(info.max, 0, dtype=info.dtype))
    if not np.isfinite(value):
        overflows = abs(exact) >= MP.mpf(float(info.max)) + last / 2
        return 0.0 if np.isinf(value) and overflows and (value > 0) == (exact > 0) else math.inf
    _, exponent = MP.frexp(exact) if exact else (0, -5000)
    spacing = MP.ldexp(1, max(exponent - info.nmant - 1, info.minexp - info.nmant))
    return float(abs(MP.mpf(float(value)) - exact) / spacing)


def points_of(name: str, dtype: DType, count: int, seed: int = 0) -> tuple[Array, ...]:
    """About `count` points a region: near 0, near powers of 2, near multiples of pi/2, at the
    limits, subnormal.
    """
    rng = np.random.default_rng(seed)
    info = np.finfo(dtype.numpy)
    if name in ("pow", "atan2"):
        regions = _pow_regions(rng, info, count) if name == "pow" else _atan2_regions(rng, count)
        x, y = (np.concatenate(parts) for parts in zip(*regions, strict=True))
        return x.astype(dtype.numpy), y.astype(dtype.numpy)
    x = np.concatenate(_regions(name, rng, info, count))
    with np.errstate(over="ignore"):
        x = x.astype(dtype.numpy)
    x = x[np.isfinite(x)]
    return arguments(name, x)


def arguments(name: str, x: Array) -> tuple[Array, ...]:
    """What the function takes for x: erf the exponential, too."""
    return (x, np.exp(-(x * x))) if name == "erf_from" else (x,)


def _regions(name: str, rng: np.random.Generator, info: Any, count: int) -> list[Array]:
    """The regions of the functions of one number."""
    low, high = math.log(float(info.smallest_subnormal)), math.log(float(info.max))
    small = np.exp(rng.uniform(low, 0, count))
    near_powers = 2.0 ** rng.integers(-20, 7, count) * (1 + rng.normal(size=count) * 1e-6)
    regions = [small, rng.uniform(0, 1, count), near_powers]
    regions += [rng.uniform(0, scale, count) for scale in (3, 8, 40)]
    if name == "log":
        near_one = 1 + rng.normal(size=count) * 10.0 ** rng.uniform(-16, -1, count)
        subnormal = float(info.tiny) * rng.uniform(1e-6, 1, count)
        return [*regions, near_one, subnormal, np.exp(rng.uniform(low, high, count))]
    regions += [-region for region in regions]
    if name == "log1p":
        near_end = 10.0 ** rng.uniform(-9, 0, count) - 1
        regions = [region[region > -1] for region in (*regions, near_end)]
        return [*regions, np.exp(rng.uniform(0, high, count))]
    if name in ("exp", "expm1", "sigmoid", "softplus"):
        limits = [high, math.log(float(info.tiny)), low]
        regions += [limit + rng.uniform(-3, 3, count // 4) for limit in limits]
        return [*regions, rng.uniform(low, high, count)]
    if name in ("sin", "cos"):
        multiples = np.pi / 2 * np.exp(rng.uniform(0, 50, count)).round()
        near_limit = 2.0**28 + rng.uniform(-1e4, 1e4, count // 4)
        hardest = np.array([6381956970095103.0 * 2.0**797, 5.319372648326541e255])
        return [*regions, multiples, np.exp(rng.uniform(0, high, count)), near_limit, hardest]
    return regions


def _pow_regions(rng: np.random.Generator, info: Any, count: int) -> list[tuple[Array, Array]]:
    """(x, y): results over the whole range and into the subnormals; x near 1 with large y; integer
    y.
    """
    low, high = math.log(float(info.smallest_subnormal)), math.log(float(info.max))
    log_x = rng.uniform(low + 1, high - 1, count)
    log_result = rng.uniform(low, high, count)
    near_one = 10.0 ** rng.uniform(-6, -1, count) * rng.choice([-1, 1], count)
    exponents = rng.integers(-9, 10, count).astype(float)
    return [
        (np.exp(log_x), log_result / log_x),
        (1 + near_one, rng.uniform(low, high, count) / 2 / np.log1p(near_one)),
        (rng.uniform(0.3, 3, count), rng.uniform(-20, 20, count)),
        (rng.normal(size=count), exponents),
    ]


def _atan2_regions(rng: np.random.Generator, count: int) -> list[tuple[Array, Array]]:
    """(y, x): all directions, all ratios, and near the borders of the octants."""
    angle = rng.uniform(-np.pi, np.pi, count)
    octant = np.pi / 8 * rng.integers(-8, 9, count) + rng.normal(size=count) * 1e-7
    radius = np.exp(rng.uniform(-30, 30, count))
    wide = [rng.normal(size=count) * np.exp(rng.uniform(-40, 40, count)) for _ in range(2)]
    return [
        (radius * np.sin(angle), radius * np.cos(angle)),
        (radius * np.sin(octant), radius * np.cos(octant)),
        (wide[0], wide[1]),
    ]
