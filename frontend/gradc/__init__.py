"""gradc: an ahead-of-time differentiating compiler for array programs."""

from gradc.ir.types import bool_, f32, f64, i32, i64

__all__ = ["bool_", "f32", "f64", "i32", "i64"]
