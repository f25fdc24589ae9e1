"""The cache of compiled functions: shared by processes, checked before use, never in the way."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradc
import gradc.tensor as gt
import numpy as np
import pytest
from gradc import CompiledFunction, cache
from gradc.cli import main
from gradc.codegen import jit
from gradc.ir.text import print_function
from gradc.runtime.manifest import read_footer
from gradc.runtime.module import LoadError, open_library


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache; at the end no temporary file may be left."""
    path = tmp_path / "cache"
    monkeypatch.setenv("GRADC_CACHE", str(path))
    yield path
    assert not list(path.glob(".*"))


def made(factor: float = 2.0) -> CompiledFunction:
    x = gt.vector("x")
    found = gradc.function([x], factor * gt.exp(x).sum(), name="f")
    assert isinstance(found, CompiledFunction)
    return found


def product(factor: float = 1.0) -> CompiledFunction:
    """A matrix product of any size; another function for each factor."""
    a, b = gt.matrix("a"), gt.matrix("b")
    found = gradc.function([a, b], factor * (a @ b))
    assert isinstance(found, CompiledFunction)
    return found


def call(function: CompiledFunction) -> float:
    return float(function(np.zeros(3)))


def names(folder: Path) -> list[str]:
    return sorted(path.suffix for path in folder.iterdir())


def key_of(function: CompiledFunction) -> str:
    key = cache.entry_key(print_function(function.ir))
    assert key is not None
    return key


@pytest.fixture(autouse=True)
def the_compiler_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever edits the compiler while the tests run shall not fail them."""
    monkeypatch.setattr("gradc.cache._STARTED", 2**63)


def forbidden(*_: object) -> None:
    raise AssertionError("it is not in the cache")


def forbid_compilation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradc.native._compiled", forbidden)


class TestEntries:
    def test_an_object_first_a_library_when_it_is_wanted_again(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert call(made()) == 6.0
        assert names(folder) == [".o"]
        forbid_compilation(monkeypatch)
        for _ in range(2):
            function = made()
            assert call(function) == 6.0
            assert function.native.name == "f"
            assert names(folder) == [".so"]

    def test_a_function_that_is_loaded_outlives_its_entry(self, folder: Path) -> None:
        call(made())
        function = made()
        call(function)
        cache.shrink(folder, 0)
        assert names(folder) == []
        assert call(function) == 6.0
        assert call(made()) == 6.0

    def test_without_a_linker_the_object_is_used(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        call(made())
        forbid_compilation(monkeypatch)
        monkeypatch.setenv("PATH", "")
        monkeypatch.setenv("CC", "")
        monkeypatch.setattr("gradc.codegen.link._candidates", lambda *_: iter(()))
        assert call(made()) == 6.0
        assert names(folder) == [".o"]

    def test_a_process_that_finds_a_library_imports_no_compiler(self, folder: Path) -> None:
        """Not even where it makes the library of an object."""
        loaded = [run_process().splitlines() for _ in range(3)]
        assert loaded[1] == loaded[2] == ["6.0", "[]"]

    def test_matrix_products_are_compiled_once(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An entry of its own for the packed product; libraries hold a copy of it."""
        jit._product.cache_clear()
        a, b = np.arange(6.0).reshape(2, 3), np.arange(12.0).reshape(3, 4)
        np.testing.assert_array_equal(product()(a, b), a @ b)
        assert names(folder) == [".o", ".o"]
        monkeypatch.setattr("gradc.codegen.jit.compile_product", forbidden)
        np.testing.assert_array_equal(product(3.0)(a, b), 3.0 * (a @ b))  # in this process
        jit._product.cache_clear()
        np.testing.assert_array_equal(product(4.0)(a, b), 4.0 * (a @ b))  # by the next one
        assert names(folder) == [".o"] * 4
        forbid_compilation(monkeypatch)
        np.testing.assert_array_equal(product(4.0)(a, b), 4.0 * (a @ b))
        assert names(folder) == [".o"] * 3 + [".so"]
        (library,) = folder.glob("*.so")
        assert {float(product(4.0)(a, b)[0, 0]) for _ in range(3)} == {4.0 * (a @ b)[0, 0]}
        assert b"gradc.matmul" not in library.read_bytes()  # the symbol is local, and stripped

    def test_a_damaged_product_is_compiled_again(self, folder: Path) -> None:
        a, b = np.arange(6.0).reshape(2, 3), np.arange(12.0).reshape(3, 4)
        jit._product.cache_clear()
        product()(a, b)
        whole = {path: path.read_bytes() for path in folder.iterdir()}
        for path, data in whole.items():
            path.write_bytes(data[:100] + b"?" + data[101:])
        jit._product.cache_clear()
        np.testing.assert_array_equal(product()(a, b), a @ b)
        assert {path: path.read_bytes() for path in folder.iterdir()} == whole

    def test_the_values_of_constants_are_part_of_the_key(self, folder: Path) -> None:
        assert [call(made(factor)) for factor in (1.0, 2.0, 1.0, 2.0)] == [3.0, 6.0, 3.0, 6.0]

    def test_off_means_off(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for word in ("off", "OFF", "0", "none"):
            monkeypatch.setenv("GRADC_CACHE", word)
            assert call(made()) == 6.0
        assert not folder.exists() and not Path("off").exists()


SOURCE = """
fn f(x: f64[n], i: i64[k]) -> f64 { sum(exp(x[i])) }
export g = value_and_grad(f, wrt: x)
"""
ARGUMENTS = ("--arg", "x=[0, 0, 1]", "--arg", "i=[0, 1]")


class TestSources:
    """Functions that `gradc run` finds by the text of their source."""

    def run(
        self, path: Path, capsys: pytest.CaptureFixture[str], *arguments: str, name: str = "g"
    ) -> tuple[int, str, str]:
        return main(["run", str(path), name, *(arguments or ARGUMENTS)]), *capsys.readouterr()

    @pytest.fixture
    def path(self, tmp_path: Path, folder: Path) -> Path:
        path = tmp_path / "model.grad"
        path.write_text(SOURCE)
        return path

    def test_a_source_that_is_known_is_not_read_again(
        self, path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = self.run(path, capsys)
        assert first[0] == 0 and '"value": 2.0' in first[1]
        monkeypatch.setattr("gradc.elaborate.elaborate_source", forbidden)
        assert [self.run(path, capsys) for _ in range(2)] == [first] * 2
        assert self.run(path, capsys, name="f")[0] == 70  # another function is not known

    @pytest.mark.parametrize("head", ["", "-> f64", "-> (y: f64)", "-> (out0: f64)"])
    def test_results_keep_their_names(
        self, path: Path, head: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path.write_text(f"fn f(x: f64) {head} {{ -x }}")
        said = [self.run(path, capsys, "--arg", "x=1", name="f") for _ in range(3)]
        assert said[0] == said[1] == said[2] and said[0][0] == 0

    @pytest.mark.parametrize(
        "arguments",
        [
            ("--arg", "x=[0]"),
            ("--arg", "x=0", "--arg", "i=[0]"),
            ("--arg", "x=[0]", "--arg", "i=[0.5]"),
            ("--arg", "x=[0]", "--arg", "i=[1]"),
            ("--allow", "G0000", *ARGUMENTS),
        ],
    )
    def test_wrong_arguments_are_refused_in_the_same_words(
        self, path: Path, arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
    ) -> None:
        expected = self.run(path, capsys, *arguments)
        assert expected[0] == 2 and expected[2]
        assert self.run(path, capsys)[0] == 0
        assert self.run(path, capsys, *arguments) == expected

    @pytest.mark.parametrize(
        ("old", "new"),
        [("exp", "2 * exp"), ("export", "# exported\nexport")],
        ids=["code", "comment"],
    )
    def test_another_text_is_another_source(
        self,
        path: Path,
        old: str,
        new: str,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        self.run(path, capsys)
        path.write_text(SOURCE.replace(old, new))
        monkeypatch.setattr("gradc.elaborate.elaborate_source", forbidden)
        assert self.run(path, capsys)[0] == 70

    def test_warnings_are_said_each_time(
        self, path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path.write_text(SOURCE.replace("{ sum", "{ y = x + 1\n sum"))
        said = [self.run(path, capsys) for _ in range(3)]
        assert said[0] == said[1] == said[2] and "G07" in said[0][2]

    def test_a_source_with_external_functions_is_read_again(
        self, path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path.write_text(SOURCE + "extern fn lgamma(x: f64) -> f64\n")
        assert self.run(path, capsys)[0] == 0
        monkeypatch.setattr("gradc.elaborate.elaborate_source", forbidden)
        assert self.run(path, capsys)[0] == 70

    def test_the_language_is_part_of_the_key(self, monkeypatch: pytest.MonkeyPatch) -> None:
        before, graph = cache.source_key(SOURCE, "g"), cache.entry_key("graph")
        assert before != cache.source_key(SOURCE, "f")
        monkeypatch.setattr("gradc.cache._LANGUAGE", str(Path(__file__).parent))
        assert cache.source_key(SOURCE, "g") != before
        assert cache.entry_key("graph") == graph

    def test_an_entry_that_is_damaged_is_compiled_again(
        self, path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        first = self.run(path, capsys)
        for entry in folder.iterdir():
            entry.write_bytes(entry.read_bytes()[:-1])
        assert [self.run(path, capsys) for _ in range(2)] == [first] * 2


PROGRAM = """
import sys
import numpy as np, gradc, gradc.tensor as gt
x = gt.vector("x")
print(float(gradc.function([x], 2.0 * gt.exp(x).sum(), name="f")(np.zeros(3))))
names = ("llvmlite", "gradc.codegen.lower", "gradc.codegen.llvm_text")
print([name for name in names if name in sys.modules])
"""


def run_process() -> str:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


class TestDamage:
    @pytest.mark.parametrize("is_library", [False, True])
    @pytest.mark.parametrize("damage", ["empty", "truncated", "flipped", "other"])
    def test_a_damaged_entry_is_compiled_again_and_replaced(
        self, folder: Path, is_library: bool, damage: str
    ) -> None:
        for _ in range(2 if is_library else 1):
            call(made())
        (path,) = folder.iterdir()
        whole = path.read_bytes()
        middle = len(whole) // 2
        path.unlink()
        path.write_bytes(
            {
                "empty": b"",
                "truncated": whole[:-1],
                "flipped": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
                "other": b"\x7fELF" + os.urandom(1000),
            }[damage]
        )
        assert call(made()) == 6.0
        stored = folder / f"{key_of(made())}.o"
        assert read_footer(stored.read_bytes())
        assert call(made()) == 6.0
        assert names(folder) == [".so"]

    def test_every_truncation_is_noticed(self, folder: Path) -> None:
        call(made())
        key = key_of(made())
        path = folder / f"{key}.o"
        whole = path.read_bytes()
        for length in range(0, len(whole), 97):
            path.write_bytes(whole[:length])
            assert cache.read_object(folder, key) is None

    def test_a_file_of_another_user_is_refused(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for _ in range(2):
            call(made())
        (path,) = folder.iterdir()
        if os.geteuid() == 0:
            os.chown(path, 65534, -1)
        else:
            monkeypatch.setattr("os.geteuid", lambda: 65534)
        with pytest.raises(LoadError, match="another user"):
            open_library(path, is_own=True)
        open_library(path)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
    def test_a_folder_that_is_read_only(self, folder: Path) -> None:
        call(made())
        folder.chmod(0o500)
        assert [call(made()), call(made(3.0))] == [6.0, 9.0]
        folder.chmod(0o700)

    def test_a_folder_in_which_no_file_can_be_made(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        call(made())

        def refused(*_: object, **__: object) -> None:
            raise PermissionError(13, "Permission denied")

        for module in ("cache", "codegen.link"):
            monkeypatch.setattr(f"gradc.{module}.write_whole", refused)
        assert call(made(3.0)) == 9.0
        forbid_compilation(monkeypatch)
        assert call(made()) == 6.0  # from the object that is there
        assert names(folder) == [".o"]

    def test_a_folder_that_cannot_be(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "file").write_text("")
        for path in ("file", "file/cache", "x" * 300):
            monkeypatch.setenv("GRADC_CACHE", str(tmp_path / path))
            assert call(made()) == 6.0

    def test_a_disk_that_is_full(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.replace", full)
        assert call(made()) == 6.0
        assert names(folder) == []


class TestKeys:
    @pytest.mark.parametrize("what", ["cpu_flags", "cpu_model", "_files_of"])
    def test_the_key_changes_with_the_machine_and_the_compiler(self, what: str) -> None:
        before = cache.entry_key("graph")
        others = {
            "cpu_flags": frozenset({"avx"}),
            "cpu_model": "other",
            "_files_of": (("x", 1, 2),),
        }
        cache._compiler.cache_clear()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(f"gradc.cache.{what}", lambda *_: others[what])
            changed = cache.entry_key("graph")
        cache._compiler.cache_clear()
        assert changed != before == cache.entry_key("graph")

    def test_a_file_of_the_compiler_that_changes(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source = tmp_path / "compiler" / "passes" / "one.py"
        source.parent.mkdir(parents=True)
        (tmp_path / "compiler" / "__init__.py").write_text("")
        monkeypatch.syspath_prepend(str(tmp_path))
        seen = []
        for text in ("1", "22", "33"):
            source.write_text(text)
            os.utime(source, ns=(len(seen), len(seen)))
            seen.append(cache._files_of("compiler"))
        assert len(set(seen)) == 3

    def test_a_compiler_that_changed_since_the_process_began(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("gradc.cache._STARTED", cache._compiler()[1] - 1)
        assert cache.entry_key("graph") is None
        assert call(made()) == 6.0
        assert not folder.exists()

    def test_the_compiler_is_found(self) -> None:
        for package in cache._COMPILER:
            assert len(cache._files_of(package)) >= 5

    def test_where_the_cache_is(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("GRADC_CACHE", raising=False)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert cache.cache_folder() == tmp_path / "gradc"
        monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # to be ignored, says the specification
        monkeypatch.setenv("HOME", "/home/someone")
        assert cache.cache_folder() == Path("/home/someone/.cache/gradc")


class TestSize:
    def test_the_least_recently_used_entries_go_first(self, folder: Path) -> None:
        folder.mkdir()
        for i in range(10):
            path = folder / f"{i:064x}.o"
            path.write_bytes(bytes(100))
            os.utime(path, ns=(i, i))
        (folder / "notes.txt").write_text("not ours")
        assert cache.summary(folder) == cache.Summary(folder, 10, 1000)
        assert cache.shrink(folder, 350) == 7
        left = sorted(path.name for path in folder.iterdir())
        assert left == [*(f"{i:064x}.o" for i in (7, 8, 9)), "notes.txt"]

    def test_storing_keeps_the_bound(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("gradc.cache.MAX_BYTES", 3000)
        for i in range(64):
            cache.store_object(folder, f"{i % 16:x}{i:063x}", bytes(500), "{}")
        cache.store_object(folder, f"{99:064x}", bytes(500), "{}")
        assert 0 < cache.summary(folder).bytes <= 3000

    def test_the_command(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        call(made())
        assert main(["cache", "info"]) == 0
        assert f"{folder}: 1 functions" in capsys.readouterr().out
        assert main(["cache", "clean"]) == 0
        assert "1 functions removed" in capsys.readouterr().out
        assert names(folder) == []


def _in_another_process(start: Any, results: Any) -> None:
    start.wait()
    results.put([call(made(float(factor))) for factor in range(5)])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of forking beside threads
def test_sixteen_processes_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fork = multiprocessing.get_context("fork")
    start, results = fork.Barrier(16), fork.Queue()
    processes = [fork.Process(target=_in_another_process, args=(start, results)) for _ in range(16)]
    for process in processes:
        process.start()
    expected = [3.0 * factor for factor in range(5)]
    assert [results.get(timeout=60) for _ in processes] == [expected] * 16
    for process in processes:
        process.join()
    forbid_compilation(monkeypatch)
    assert [call(made(float(factor))) for factor in range(5)] == expected


def test_a_file_that_is_opened_twice_and_then_another(folder: Path) -> None:
    """The dynamic loader remembers the names of descriptors whose numbers are used again."""
    for _ in range(2):
        call(made())
    (path,) = folder.iterdir()
    kept = open_library(path)
    for factor in range(3, 6):
        open_library(path)  # opened and closed
        for _ in range(2):
            assert call(made(float(factor))) == 3.0 * factor
    assert kept[1].symbol("gradc_call_jit_f")
