"""Which of the CPU features that a library was compiled for this machine lacks."""

from __future__ import annotations

# LLVM's name of a feature -> the flag in /proc/cpuinfo. Only features that compiled code may use
# without asking; what LLVM's host description lists besides them (tuning, system instructions)
# does not matter.
_X86_FLAGS = {
    "sse3": "pni", "ssse3": "ssse3", "sse4.1": "sse4_1", "sse4.2": "sse4_2", "popcnt": "popcnt",
    "cx16": "cx16", "sahf": "lahf_lm", "avx": "avx", "avx2": "avx2", "fma": "fma", "fma4": "fma4",
    "f16c": "f16c", "bmi": "bmi1", "bmi2": "bmi2", "lzcnt": "abm", "movbe": "movbe", "adx": "adx",
    "sse4a": "sse4a", "xop": "xop", "tbm": "tbm", "pclmul": "pclmulqdq", "aes": "aes",
    "gfni": "gfni", "vaes": "vaes", "vpclmulqdq": "vpclmulqdq", "sha": "sha_ni",
    "avxvnni": "avx_vnni", "avx512f": "avx512f", "avx512cd": "avx512cd", "avx512dq": "avx512dq",
    "avx512bw": "avx512bw", "avx512vl": "avx512vl", "avx512ifma": "avx512ifma",
    "avx512vbmi": "avx512vbmi", "avx512vbmi2": "avx512_vbmi2", "avx512vnni": "avx512_vnni",
    "avx512bitalg": "avx512_bitalg", "avx512vpopcntdq": "avx512_vpopcntdq",
    "avx512bf16": "avx512_bf16", "avx512fp16": "avx512_fp16",
}  # fmt: skip
_AARCH64_FLAGS = {
    "neon": "asimd", "fullfp16": "asimdhp", "dotprod": "asimddp", "sve": "sve", "sve2": "sve2",
    "lse": "atomics", "bf16": "bf16", "i8mm": "i8mm", "rdm": "asimdrdm", "jsconv": "jscvt",
}  # fmt: skip

# What the architecture levels of the x86-64 psABI stand for, and the CPUs that have at least that.
_V2 = ("cx16", "sahf", "popcnt", "sse3", "ssse3", "sse4.1", "sse4.2")
_V3 = (*_V2, "avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe")
_V4 = (*_V3, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")
_LEVELS = {
    "x86-64-v2": _V2, "nehalem": _V2, "westmere": _V2,
    "x86-64-v3": _V3, "haswell": _V3, "broadwell": _V3, "skylake": _V3, "alderlake": _V3,
    "znver1": _V3, "znver2": _V3, "znver3": _V3,
    "x86-64-v4": _V4, "skylake-avx512": _V4, "cascadelake": _V4, "icelake-client": _V4,
    "icelake-server": _V4, "sapphirerapids": _V4, "graniterapids": _V4, "znver4": _V4,
    "znver5": _V4,
}  # fmt: skip


def missing_features(cpu: str, features: str, flags: frozenset[str]) -> tuple[str, ...]:
    """The features, in LLVM's words, that code for `cpu` with `features` needs and `flags` lack.

    `features` is "+avx2,+fma,-sse4a"; of a `cpu` the x86-64 level is known, if at all. Without
    flags (no /proc/cpuinfo) nothing can be said, and nothing is missing.
    """
    if not flags:
        return ()
    known = _AARCH64_FLAGS if "asimd" in flags or "fp" in flags else _X86_FLAGS
    needed = dict.fromkeys(_LEVELS.get(cpu, ()))
    needed.update(dict.fromkeys(f[1:] for f in features.split(",") if f.startswith("+")))
    for feature in (f[1:] for f in features.split(",") if f.startswith("-")):
        needed.pop(feature, None)
    return tuple(f for f in needed if f in known and known[f] not in flags)


def cpu_flags(path: str = "/proc/cpuinfo") -> frozenset[str]:
    """The flags of the first CPU listed; empty where the file is not there."""
    try:
        with open(path, encoding="ascii", errors="replace") as lines:
            for line in lines:
                key, _, value = line.partition(":")
                if key.strip() in ("flags", "Features"):
                    return frozenset(value.split())
    except OSError:
        pass
    return frozenset()
