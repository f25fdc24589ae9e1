"""Libraries: linking, the header, the manifest, the footer, and what the loader refuses."""

from __future__ import annotations

import gc
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import gradc
import gradc.tensor as gt
import numpy as np
import pytest
from gradc.codegen.c_names import check_name
from gradc.codegen.cabi import exported_symbols, header, manifest_of
from gradc.codegen.link import Linker, LinkError, find_linker, link
from gradc.codegen.target import Target
from gradc.ir.dims import parse_dim
from gradc.ir.function import Requirement
from gradc.ir.loops import Buffer, Program
from gradc.ir.types import ArrayType, bool_, f32, f64, i64
from gradc.runtime.cpu import cpu_flags, missing_features
from gradc.runtime.dims import compile_dim, evaluate
from gradc.runtime.manifest import (
    ArrayEntry,
    FunctionEntry,
    Manifest,
    ManifestError,
    TargetEntry,
    append_footer,
    read_footer,
    read_manifest,
    write_manifest,
)
from gradc.runtime.module import LoadError, load

SCALE = FunctionEntry(
    "scale",
    ("n",),
    (ArrayEntry("x", "f64", ("n",)), ArrayEntry("factor", "f64", ())),
    (ArrayEntry("y", "f64", ("n",)),),
)
SOURCE = """
#include <stdint.h>
#include <math.h>
int hidden(int x) { return x; }
int32_t scale(int64_t n, const double *x, double factor, double *y, void *workspace)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = BODY;
    return 0;
}
int64_t scale_workspace(int64_t n) { return 0; }
int32_t gradc_call_scale(const int64_t *n, const void *const *in, void *const *out, void *w)
{
    return scale(n[0], in[0], *(const double *)in[1], out[0], w);
}
int64_t gradc_workspace_scale(const int64_t *n) { return 0; }
const char gradc_manifest[] = "{}";
"""
LINKERS = {
    "cc": Linker(("cc",), True),
    "ld": Linker(("ld",), False),
    "ld.lld": Linker(("ld.lld",), False),
    "zig": Linker(("zig", "cc"), True),
}


def manifest(*functions: FunctionEntry, features: str = "") -> str:
    target = TargetEntry("x86_64-unknown-linux-gnu", "x86-64", features)
    return write_manifest(Manifest("1.2.3", target, functions))


def compiled(folder: Path, body: str) -> bytes:
    source, code = folder / "scale.c", folder / "scale.o"
    source.write_text(SOURCE.replace("BODY", body))
    command = ["cc", "-O1", "-fPIC", "-ffunction-sections", "-c", str(source), "-o", str(code)]
    subprocess.run(command, check=True)
    return code.read_bytes()


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return compiled(tmp_path_factory.mktemp("code"), "x[i] * factor")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory, code: bytes) -> bytes:
    path = tmp_path_factory.mktemp("library") / "libscale.so"
    link(code, path, exported_symbols(["scale"]), manifest(SCALE))
    return path.read_bytes()


def output_of(*command: object) -> str:
    return subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, check=True
    ).stdout


class TestLink:
    @pytest.mark.parametrize("name", LINKERS)
    @pytest.mark.parametrize("body", ["x[i] * factor", "exp(x[i]) * factor"])
    def test_every_linker_makes_a_clean_library(self, tmp_path: Path, name: str, body: str) -> None:
        if shutil.which(name) is None:
            pytest.skip(f"{name} is not on this machine")
        path = tmp_path / "libscale.so"
        symbols = exported_symbols(["scale"])
        link(compiled(tmp_path, body), path, symbols, manifest(SCALE), LINKERS[name])
        names = output_of("nm", "-D", "--defined-only", path).split()[2::3]
        assert sorted(names) == sorted(symbols)
        needed = [
            line for line in output_of("readelf", "-d", path).splitlines() if "NEEDED" in line
        ]
        assert len(needed) <= 2 if "exp" in body else not needed
        assert all("libm.so" in line or "libc.so" in line for line in needed)
        (stack,) = (
            line for line in output_of("readelf", "-lW", path).splitlines() if "STACK" in line
        )
        assert "RWE" not in stack.replace(" ", "")
        assert path.stat().st_size < 11_000  # no padding around the code
        factor = 2 * np.exp(1.0) if "exp" in body else 2.0
        np.testing.assert_allclose(load(path).scale([1.0], 2.0), [factor], rtol=1e-15)

    def test_an_undefined_symbol_is_an_error_and_leaves_the_old_file(self, tmp_path: Path) -> None:
        path = tmp_path / "libscale.so"
        path.write_text("before")
        code = compiled(tmp_path, "factor * ({ double missing_one(double); missing_one(x[i]); })")
        with pytest.raises(LinkError, match=r"failed with status 1:\n(.|\n)*missing_one"):
            link(code, path, exported_symbols(["scale"]), manifest(SCALE))
        assert path.read_text() == "before"
        assert sorted(p.name for p in tmp_path.iterdir()) == ["libscale.so", "scale.c", "scale.o"]

    def test_a_folder_that_is_not_there(self, tmp_path: Path, code: bytes) -> None:
        with pytest.raises(FileNotFoundError):
            link(code, tmp_path / "no" / "libscale.so", ["scale"], manifest(SCALE))

    def test_without_a_linker_the_message_says_what_to_install(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.delenv("CC", raising=False)
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(LinkError, match=r"looked for cc, ld, ld.lld, zig cc.*apt-get install"):
            find_linker()

    def test_the_linkers_are_tried_in_order(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.delenv("CC", raising=False)
        for name in ("zig", "ld.lld", "ld", "cc", "special-cc"):
            tool = tmp_path / name
            tool.write_text("#!/bin/sh\n")
            tool.chmod(0o755)
            monkeypatch.setenv("CC", "special-cc -m64")
            found = find_linker().command
            assert found[0] == name
        assert found == ("special-cc", "-m64")
        aarch64 = find_linker(183)
        assert aarch64.command == ("ld.lld",)

    @pytest.mark.parametrize("code", [b"", b"MZ" + bytes(100), b"\x7fELF"])
    def test_only_elf_objects_are_linked(self, tmp_path: Path, code: bytes) -> None:
        with pytest.raises(LinkError, match="only ELF objects"):
            link(code, tmp_path / "x.so", [], manifest())

    def test_a_command_that_cannot_run(self, tmp_path: Path, code: bytes) -> None:
        with pytest.raises(LinkError, match="could not be run"):
            link(code, tmp_path / "x.so", [], manifest(), Linker((str(tmp_path),), True))


def test_a_built_library_needs_no_other(tmp_path: Path) -> None:
    """It takes memory from whatever C library the process has: symbols are weak."""
    w, rows = gt.vector("w"), gt.matrix("rows")
    loss = gradc.function([w, rows], gt.sum(gt.softplus(rows @ w)), name="loss")
    path = tmp_path / "libloss.so"
    gradc.build(path, loss=loss, loss_grad=gradc.value_and_grad(loss, wrt="w"))
    assert "NEEDED" not in output_of("readelf", "-d", path)
    undefined = output_of("nm", "-D", "--undefined-only", path).split()
    assert undefined[::2] == ["w"] * 3
    assert sorted(undefined[1::2]) == ["free", "malloc", "memset"]
    value, gradient = load(path).loss_grad(np.zeros(2), np.ones((3, 2)))
    assert value == pytest.approx(3 * np.log(2))
    np.testing.assert_allclose(gradient, [1.5, 1.5])


class TestLoad:
    def test_functions_are_attributes_and_items(self, tmp_path: Path, library: bytes) -> None:
        path = tmp_path / "libscale.so"
        path.write_bytes(library)
        module = load(path)
        assert module.scale is module["scale"]
        assert (list(module), len(module), "scale" in module) == (["scale"], 1, True)
        assert "scale" in dir(module)
        assert module.manifest.functions == (SCALE,)
        assert repr(module) == f"<gradc module {str(path)!r}: scale>"
        np.testing.assert_array_equal(module.scale([1.0, 2.0], 3.0), [3.0, 6.0])
        with pytest.raises(AttributeError, match="has no function 'scales'; it has scale"):
            _ = module.scales
        with pytest.raises(KeyError, match="has no function 'x'"):
            _ = module["x"]

    def refusal(self, tmp_path: Path, data: bytes) -> str:
        path = tmp_path / "lib.so"
        path.write_bytes(data)
        with pytest.raises(LoadError) as caught:
            load(path)
        text = str(caught.value)
        assert text.startswith(f"cannot load {path}: ")
        return text.removeprefix(f"cannot load {path}: ")

    def test_every_truncation_is_refused(self, tmp_path: Path, library: bytes) -> None:
        assert self.refusal(tmp_path, b"") == "it is empty"
        assert "the ELF header is incomplete" in self.refusal(tmp_path, library[:63])
        for length in (*range(64, len(library), 997), len(library) - 1):
            assert "truncated" in self.refusal(tmp_path, library[:length])

    def test_every_flipped_bit_is_refused(self, tmp_path: Path, library: bytes) -> None:
        for at in (*range(0, len(library), 499), *range(len(library) - 60, len(library))):
            damaged = bytearray(library)
            damaged[at] ^= 4
            assert self.refusal(tmp_path, bytes(damaged))
        damaged = bytearray(library)
        damaged[len(library) // 2] ^= 1
        assert "corrupted: its SHA-256" in self.refusal(tmp_path, bytes(damaged))

    def test_foreign_files_are_refused(self, tmp_path: Path, library: bytes) -> None:
        def patched(at: int, value: int) -> bytes:
            return library[:at] + bytes([value]) + library[at + 1 :]

        assert "no ELF shared library" in self.refusal(tmp_path, b"#!/bin/sh\n" + library)
        assert "made for RISC-V" in self.refusal(tmp_path, patched(18, 243))
        assert "made for 32-bit programs" in self.refusal(tmp_path, patched(4, 1))
        assert "other byte order" in self.refusal(tmp_path, patched(5, 2))
        assert "no shared library" in self.refusal(tmp_path, patched(16, 1))
        plain = library[: library.rindex(b'{"gradc_abi"')]
        assert "no gradc footer" in self.refusal(tmp_path, plain)

    def test_a_newer_interface_is_refused(self, tmp_path: Path, library: bytes) -> None:
        plain = library[: library.rindex(b'{"gradc_abi"')]
        newer = json.dumps({"gradc_abi": 2, "gradc_version": "9.0", "unknown": []})
        refusal = self.refusal(tmp_path, append_footer(plain, newer))
        assert refusal.startswith("built by a newer gradc (9.0, ABI 2; this one reads ABI 1)")

    def test_missing_cpu_features_are_refused(self, tmp_path: Path, library: bytes) -> None:
        flags = cpu_flags()
        lacking = [name for name in ("xop", "tbm", "fma4", "avx512fp16") if name not in flags]
        if "sse2" not in flags or not lacking:
            pytest.skip("this test knows features of x86 that few CPUs have")
        plain = library[: library.rindex(b'{"gradc_abi"')]
        text = manifest(SCALE, features=f"+sse2,+{lacking[0]},+no-such-feature,-tbm2")
        refusal = self.refusal(tmp_path, append_footer(plain, text))
        assert f"it was compiled for x86-64 and needs {lacking[0]}, which this CPU lacks" in refusal

    def test_paths_that_are_no_files(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            load(tmp_path / "none.so")
        with pytest.raises(LoadError, match="it is no regular file"):
            load(tmp_path)

    def test_a_symbol_that_is_missing(self, tmp_path: Path, library: bytes) -> None:
        plain = library[: library.rindex(b'{"gradc_abi"')]
        other = FunctionEntry("other", (), (), ())
        refusal = self.refusal(tmp_path, append_footer(plain, manifest(other)))
        assert "exports no symbol 'gradc_call_other'" in refusal

    def test_a_replaced_file_is_loaded_anew(self, tmp_path: Path, code: bytes) -> None:
        path = tmp_path / "libscale.so"
        link(code, path, exported_symbols(["scale"]), manifest(SCALE))
        old = load(path)
        code = compiled(tmp_path, "x[i] + factor")
        link(code, path, exported_symbols(["scale"]), manifest(SCALE))
        new = load(path)
        assert list(new.scale([10.0], 2.0)) == [12.0]
        assert list(old.scale([10.0], 2.0)) == [20.0]

    def test_files_are_closed(self, tmp_path: Path, library: bytes) -> None:
        descriptors = Path("/proc/self/fd")
        if not descriptors.exists():
            pytest.skip("needs /proc")
        path = tmp_path / "libscale.so"
        path.write_bytes(library)
        gc.collect()  # libraries of other tests
        before = len(os.listdir(descriptors))
        function = load(path).scale
        assert len(os.listdir(descriptors)) == before + 1
        assert list(function([1.0], 2.0)) == [2.0]
        del function
        path.write_bytes(library[:-1])
        with pytest.raises(LoadError):
            load(path)
        assert len(os.listdir(descriptors)) == before

    def test_neither_the_compiler_nor_the_parser_is_imported(
        self, tmp_path: Path, library: bytes
    ) -> None:
        path = tmp_path / "libscale.so"
        path.write_bytes(library)
        program = (
            "import sys; from gradc.runtime.module import load\n"
            f"print(load({str(path)!r}).scale([1.0, 2.0], 3.0))\n"
            "print([name for name in ('llvmlite', 'lark', 'gradc.codegen', 'gradc.ir.types',"
            " 'hashlib', 'pathlib') if name in sys.modules])"
        )
        assert output_of(sys.executable, "-c", program) == "[3. 6.]\n[]\n"


def test_cpu_levels_and_features() -> None:
    haswell = frozenset(
        ["pni", "ssse3", "sse4_1", "sse4_2", "popcnt", "cx16", "lahf_lm", "avx", "avx2", "bmi1",
         "bmi2", "f16c", "fma", "abm", "movbe"]
    )  # fmt: skip
    assert missing_features("x86-64-v3", "", haswell) == ()
    assert missing_features("x86-64-v4", "", haswell)[0] == "avx512f"
    assert missing_features("x86-64", "+avx2,+avx512vl", haswell) == ("avx512vl",)
    assert missing_features("x86-64-v4", "-avx512f,-avx512bw,-avx512cd,-avx512dq,-avx512vl",
                            haswell) == ()  # fmt: skip
    assert missing_features("znver4", "", haswell) == missing_features("x86-64-v4", "", haswell)
    assert missing_features("x86-64-v4", "", frozenset()) == ()
    assert missing_features("", "+neon,+sve", frozenset(["fp", "asimd"])) == ("sve",)


class TestManifest:
    def test_it_is_read_as_it_was_written(self) -> None:
        text = manifest(SCALE)
        assert read_manifest(text) == Manifest(
            "1.2.3", TargetEntry("x86_64-unknown-linux-gnu", "x86-64", ""), (SCALE,)
        )
        assert write_manifest(read_manifest(text)) == text
        assert read_footer(append_footer(b"library", text)) == text

    @pytest.mark.parametrize(
        ("path", "value", "message"),
        [
            ((), [], "the manifest: expected an object"),
            (("gradc_abi",), "1", "'gradc_abi' of the manifest: expected an integer, found '1'"),
            (("gradc_abi",), 0, "ABI 0 is unknown"),
            (("gradc_version",), None, "the manifest lacks 'gradc_version'"),
            (("target",), {}, "'target' of the manifest lacks 'triple'"),
            (("functions",), {}, "'functions' of the manifest: expected an array"),
            (("functions", 0, "name"), "a b", "expected an identifier, found 'a b'"),
            (("functions", 0, "sizes"), ["n", "n"], "the sizes of the function scale: n stands"),
            (("functions", 0, "sizes"), [], "reads n, which is not among the sizes"),
            (("functions", 0, "inputs", 0, "dtype"), "f16", "expected one of f64, f32, i64, i32"),
            (("functions", 0, "inputs", 0, "shape"), ["n +"], "cannot read the dimension 'n +'"),
            (("functions", 0, "inputs", 0, "shape"), [-1], "a length that is not negative"),
            (("functions", 0, "inputs", 0, "shape"), [1.5], "expected text, found 1.5"),
            (("functions", 0, "inputs", 0, "shape"), [True], "expected text, found True"),
            (("functions", 0, "inputs", 0, "shape"), [1] * 33, "at most 32 axes"),
            (("functions", 0, "inputs", 0, "name"), "factor", "factor stands there twice"),
            (("functions", 0, "requires"), [{"dim": "n", "relation": "> 0", "why": ""}],
             "expected one of == 0, >= 0, found '> 0'"),
        ],
    )  # fmt: skip
    def test_what_is_wrong_is_said(
        self, path: tuple[Any, ...], value: object, message: str
    ) -> None:
        data: Any = json.loads(manifest(SCALE))
        if path:
            place = data
            for key in path[:-1]:
                place = place[key]
            place[path[-1]] = value
            if value is None:
                del place[path[-1]]
        else:
            data = value
        with pytest.raises(ManifestError) as caught:
            read_manifest(json.dumps(data))
        assert message in str(caught.value)

    @pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "nul"])
    def test_text_that_is_no_json(self, text: str) -> None:
        with pytest.raises(ManifestError, match="the manifest is no JSON"):
            read_manifest(text)

    def test_keys_of_later_versions_are_ignored(self) -> None:
        data = json.loads(manifest(SCALE))
        data["sparsity"] = data["functions"][0]["later"] = {"x": 1}
        assert read_manifest(json.dumps(data)).functions == (SCALE,)

    @pytest.mark.parametrize(
        "text",
        ["n", "7", "2*n + 1", "-n + 10", "n*m - 3", "(n + 1)//2", "2*((n + 1)//2)", "n//(m + 1)",
         "m*(n//2) - (m//3)*(n - 1)", "-(n//2)", "n*n*m", "(n - 5)//3"],
    )  # fmt: skip
    def test_dimensions_mean_what_the_ir_means(self, text: str) -> None:
        dim = parse_dim(text)
        for form in (text, str(dim)):
            program = compile_dim(form, ("m", "n"))
            for m in range(4):
                for n in range(7):
                    sizes = {"m": m, "n": n}
                    expected = eval(text, {}, sizes)
                    assert evaluate(program, (m, n)) == expected, (form, sizes)

    @pytest.mark.parametrize(
        "text", ["", "n n", "n +", "(n", "n)", "2.5", "n**2", "n/2", "é", "f(n)", "k", "9" * 30,
                 "(" * 50 + "n", "n % 2", "+", "--n"],
    )  # fmt: skip
    def test_dimensions_that_cannot_be_read(self, text: str) -> None:
        with pytest.raises(ValueError, match=r"dimension"):
            compile_dim(text, ("m", "n"))

    def test_dimensions_leave_64_bits_quietly_never(self) -> None:
        program = compile_dim("n*n", ("n",))
        assert evaluate(program, (2**31,)) == 2**62
        assert evaluate(program, (2**32,)) is None
        assert evaluate(compile_dim("1//n", ("n",)), (0,)) is None


class TestHeader:
    def program(self) -> Program:
        n = parse_dim("n")
        inputs = (
            Buffer("class", ArrayType(f64, (n, 3)), "input"),
            Buffer("n", ArrayType(f32), "input"),
            Buffer("mask", ArrayType(bool_, (parse_dim("2*n + 1"),)), "input"),
            Buffer("flag", ArrayType(bool_), "input"),
            Buffer("I", ArrayType(i64, (2,)), "input"),
            Buffer("workspace", ArrayType(f64), "input"),
        )
        outputs = (Buffer("value", ArrayType(f64), "output"),)
        requires = (Requirement(parse_dim("n - 7"), ">= 0", "x[5:7] needs n >= 7 */ int oops;"),)
        return Program("fit", ("n",), inputs, outputs, (), requires=requires)

    def text(self) -> str:
        target = Target("x86_64-unknown-linux-gnu", "znver4", "+avx2")
        entry = FunctionEntry("constant", (), (), (ArrayEntry("y", "f64", ()),))
        read = read_manifest(manifest_of([self.program()], target))
        both = Manifest(read.gradc_version, read.target, (*read.functions, entry))
        return header(write_manifest(both), "lib-fit")

    def test_parameters_are_typed_and_no_words_of_c(self) -> None:
        assert (
            "int32_t fit(\n    int64_t n,\n    const double *class_,\n    float n_,\n"
            "    const bool *mask,\n    bool flag,\n    const int64_t *I_,\n    double workspace,\n"
            "    double *value,\n    void *workspace_);\n"
            "int64_t fit_workspace(int64_t n);\n"
        ) in self.text()
        assert "int64_t constant_workspace(void);\n" in self.text()
        assert "-1  x[5:7] needs n >= 7 * / int oops;" in self.text()

    @pytest.mark.parametrize(
        "compiler",
        ["cc -std=c99 -pedantic", "cc -std=gnu17", "c++ -x c++ -std=c++11 -pedantic",
         "c++ -x c++ -std=c++20"],
    )  # fmt: skip
    def test_compilers_take_it_twice_and_beside_gradc_h(
        self, tmp_path: Path, compiler: str
    ) -> None:
        if shutil.which(compiler.split()[0]) is None:
            pytest.skip(f"{compiler} is not on this machine")
        (tmp_path / "fit.h").write_text(self.text())
        include = Path(__file__).parent.parent / "runtime" / "include"
        source = tmp_path / "use.c"
        source.write_text('#include "fit.h"\n#include <gradc.h>\n#include "fit.h"\n'
                          "gradc_workspace unused;\n")  # fmt: skip
        flags = ["-Wall", "-Wextra", "-Werror", "-fsyntax-only", f"-I{include}", str(source)]
        subprocess.run([*compiler.split(), *flags], check=True)

    @pytest.mark.parametrize(
        ("name", "reason"),
        [("double", "word of C"), ("class", "word of C"), ("exp", "function of the C library"),
         ("expf", "function of the C library"), ("main", "function of the C library"),
         ("gradc_x", "begins with gradc_"), ("_x", "is not a letter"), ("a-b", "is not a letter"),
         ("größe", "is not a letter"), ("", "is not a letter"), ("NULL", "word of C")],
    )  # fmt: skip
    def test_names_that_cannot_be_exported(self, name: str, reason: str) -> None:
        with pytest.raises(ValueError, match=reason):
            check_name(name)

    def test_symbols_that_clash(self) -> None:
        with pytest.raises(ValueError, match="the symbol loss_workspace of loss is already that"):
            exported_symbols(["loss_workspace", "loss"])
        assert exported_symbols(["f"]) == (
            "gradc_manifest", "f", "f_workspace", "gradc_call_f", "gradc_workspace_f"
        )  # fmt: skip
