"""From a graph to native code: functions in this process, and libraries for others.

graph IR -> optimized -> loops -> LLVM -> object -> LLVM's JIT (function) or a linker (build)
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from threading import get_ident
from typing import TYPE_CHECKING, Any, overload

from gradc.errors import GradcTypeError, GradcValueError
from gradc.ir.dims import Dim, SizeExpr, names_of, size, substitute
from gradc.ir.function import Equation, Function, Value
from gradc.ir.loops import Program
from gradc.ir.ops.external import ExternalCode, external_calls
from gradc.ir.passes.pipeline import DEFAULT, FAST, optimize
from gradc.ir.record import dataclass
from gradc.ir.text import print_function
from gradc.ir.transforms.inline import inline
from gradc.native import native_function, symbol_of
from gradc.runtime._core import BoundCall, Dispatcher, NativeFunction
from gradc.tensor.operands import asarray, assume_shape, is_weak, same_length
from gradc.tensor.sizes import display, has_anonymous
from gradc.tensor.source import located
from gradc.tensor.variable import Tensor

if TYPE_CHECKING:
    from gradc.codegen.target import Target

STAGES = ("ir", "optimized", "kernels", "loops", "llvm", "asm")


@dataclass(frozen=True, eq=False, repr=False)
class CompiledFunction(Dispatcher):
    """A function that is called with arrays (native code, compiled at the first call) or variables.

    ir: the function's graph. single: whether a call gives an array, rather than a tuple of arrays.
    Arguments go by position or name; `out=` takes the array(s) to write to. `traps`: a result that
    is not finite raises NotFiniteError, see `trap_nan`. `fast_math`: results may differ in their
    last digits from what IEEE arithmetic in the written order gives, see docs/numerics.md.
    """

    ir: Function
    single: bool = True
    traps: bool = False
    fast_math: bool = False

    def fallback(self, *args: Any, **kwargs: Any) -> Any:
        """A call that no native code took: the first one, one with variables, or a wrong one."""
        if _is_symbolic(args, kwargs):
            return self._inlined(args, kwargs)
        if self.traps:
            return self.trap_nan(*args, **kwargs)
        return self._call(*args, **kwargs)

    def trap_nan(self, *args: Any, **kwargs: Any) -> Any:
        """A call that raises NotFiniteError where a result holds a NaN or an infinity.

        The error says which operation made it out of finite numbers: the line, the entry, and
        whether in the primal or in the gradient.
        """
        from gradc.trap import trapped

        return trapped(self.ir, self._call, args, kwargs)

    def _call(self, *args: Any, **kwargs: Any) -> Any:
        try:
            result = self.native(*args, **kwargs)
        except RuntimeError:
            for callback in self._callbacks:
                failure = callback.failures.pop(get_ident(), None)
                if failure is not None:
                    raise failure from None
            raise
        return result if self.single or type(result) is tuple else (result,)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.ir, self.single, self.traps, self.fast_math)

    @property
    def __name__(self) -> str:
        return self.ir.name

    @property
    def __signature__(self) -> inspect.Signature:
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        pairs = zip(self.ir.parameter_names, self.ir.parameters, strict=True)
        return inspect.Signature(
            [inspect.Parameter(name, kind, annotation=p.type) for name, p in pairs]
        )

    @cached_property
    def optimized(self) -> Function:
        """The graph after all passes."""
        return optimize(self.ir, FAST if self.fast_math else DEFAULT)

    @cached_property
    def program(self) -> Program:
        """The loops over buffers."""
        from gradc.codegen.target import host

        return self._program_for(host())

    def _program_for(self, target: Target) -> Program:
        from gradc.codegen.choices import Choices
        from gradc.codegen.fast_math import with_fast_math
        from gradc.codegen.lower import lower

        program = lower(self.optimized, symbol_of(self.ir.name), Choices(target.vector_bits))
        return with_fast_math(program) if self.fast_math else program

    @cached_property
    def native(self) -> NativeFunction:
        """The compiled code, in this process."""
        if self._external:
            from gradc.in_process import native_with_external

            native = native_with_external(self.ir.name, self.program, self._external)
        else:
            native = native_function(self.ir, lambda: self.program, fast_math=self.fast_math)
        if not self.traps and not self._callbacks:
            self.attach(native, not self.single)
        return native

    @cached_property
    def _external(self) -> list[tuple[Equation, ExternalCode]]:
        """The calls of external functions in the graph."""
        return external_calls(self.ir)

    @cached_property
    def _callbacks(self) -> list[ExternalCode]:
        """The Python functions that native code calls."""
        return [code for _, code in self._external if code.python is not None]

    def compile(self) -> CompiledFunction:
        """Compile now rather than at the first call."""
        _ = self.native
        return self

    def bind(self, *args: Any, **kwargs: Any) -> BoundCall:
        """A call without arguments: these, and `out=`, are read and checked once, here.

        For loops in which a call takes less than a microsecond. Arrays are read and written in
        place at each call; numbers stay as they are now. Without `out=`, new arrays are made, which
        every call overwrites. Raises what a call raises, and TypeError for an array that cannot be
        read in place.
        """
        if self.traps or self._callbacks:
            raise GradcValueError(
                f"{self.ir.name}: bind runs native code alone",
                hint="a function that traps NaNs, or calls Python, is called with its arguments",
            )
        return self.native.bind(*args, **kwargs)

    def release_workspace(self) -> None:
        """Give back the memory that is kept for the next calls, see docs/c_abi.md."""
        if "native" in self.__dict__:
            self.native.release_workspace()

    def stage(self, name: str, target: str | Target = "native") -> str:
        """The function as text at a stage: "ir", "optimized", "kernels", "loops", "llvm", "asm".

        `target` is as in `build`: it decides from "kernels" on. ValueError for a stage that there
        is not, and for a target that LLVM does not know.
        """
        if name == "ir":
            return print_function(self.ir)
        if name == "optimized":
            return print_function(self.optimized)
        if name not in STAGES:
            raise GradcValueError(f"no stage {name!r}", hint=f"the stages are {', '.join(STAGES)}")
        from gradc.codegen.target import Target, parse_target

        return self._code(name, target if isinstance(target, Target) else parse_target(target))

    def _code(self, name: str, target: Target) -> str:
        from gradc.codegen.cabi import manifest_of
        from gradc.codegen.choices import Choices
        from gradc.codegen.explain import explain_kernels
        from gradc.codegen.llvm import emit_module
        from gradc.codegen.target import compile_to_assembly, host
        from gradc.listing import print_program

        if name == "kernels":
            return explain_kernels(self.optimized, self.ir.name, Choices(target.vector_bits))
        program = self.program if target == host() else self._program_for(target)
        if name == "loops":
            return print_program(program)
        text = emit_module([program], manifest_of([program], target), target)
        return text if name == "llvm" else compile_to_assembly(text, target)

    def __str__(self) -> str:
        return self.stage("ir")

    def __repr__(self) -> str:
        pairs = zip(self.ir.parameter_names, self.ir.parameters, strict=True)
        inputs = ", ".join(f"{name}: {value.type}" for name, value in pairs)
        results = ", ".join(str(value.type) for value in self.ir.results)
        return f"<gradc function {self.ir.name}({inputs}) -> {results}>"

    @located
    def _inlined(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """The function's graph at symbolic arguments."""
        try:
            bound = self.__signature__.bind(*args, **kwargs)
        except TypeError as error:
            raise GradcTypeError(f"{self.ir.name}: {error}") from error
        values = fitted(self.ir, list(bound.arguments.values()))
        results = tuple(Tensor(value) for value in inline(self.ir, values))
        return results[0] if self.single else results


@overload
def function(inputs: Callable[..., Any], /) -> CompiledFunction: ...
@overload
def function(
    inputs: Sequence[Tensor],
    outputs: Any,
    /,
    *,
    name: str | None = None,
    trap_nan: bool = False,
    fast_math: bool = False,
) -> CompiledFunction: ...
@overload
def function(
    *, name: str | None = None, trap_nan: bool = False, fast_math: bool = False
) -> Callable[[Callable[..., Any]], CompiledFunction]: ...


def function(
    inputs: Any = None,
    outputs: Any = None,
    *,
    name: str | None = None,
    trap_nan: bool = False,
    fast_math: bool = False,
) -> Any:
    """A callable that computes `outputs` from `inputs`, as native code.

        f = gradc.function([x, y], x @ y)            one array
        f = gradc.function([x, y], [x @ y, x.sum()]) a tuple of arrays

        @gradc.function
        def loss(w: f64["d"], X: f64["n", "d"]): ...

    Inputs that no output needs are allowed. With `trap_nan` a call raises NotFiniteError where a
    result is not finite; `fast_math` lets the last digits of results differ (docs/numerics.md).
    Raises RepeatedInputError, MissingInputError, GradcTypeError and GradcValueError, see
    `tracing.make_function`.
    """
    if isinstance(inputs, Function):
        return CompiledFunction(inputs, len(inputs.results) == 1, trap_nan, fast_math)
    if inputs is None:
        return lambda python: _traced(python, name, trap_nan, fast_math)
    if callable(inputs):
        return _traced(inputs, name, trap_nan, fast_math)
    if isinstance(inputs, Tensor) or not isinstance(inputs, Sequence):
        raise GradcTypeError(f"function: the inputs are a list of variables, not {inputs!r}")
    several = isinstance(outputs, tuple | list)
    if outputs is None or (several and not outputs):
        raise GradcTypeError("function: there are no outputs")
    from gradc.tracing import make_function

    made = make_function(inputs, outputs if several else [outputs], name or "function")
    return CompiledFunction(made, not several, trap_nan, fast_math)


def _traced(
    python: Callable[..., Any], name: str | None, traps: bool, fast_math: bool
) -> CompiledFunction:
    from gradc.tracing import trace  # a function of a .grad file is not traced

    made, single = trace(python, name)
    compiled = CompiledFunction(made, single, traps, fast_math)
    if python.__doc__:
        compiled.__dict__["__doc__"] = python.__doc__
    return compiled


def _is_symbolic(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    return any(isinstance(x, Tensor) for x in (*args, *kwargs.values()))


def fitted(fn: Function, arguments: Sequence[Any]) -> list[Value]:
    """Arguments as values of the parameters' types; lengths without a name are assumed to fit."""
    arrays = [
        asarray(x, p.dtype if is_weak(x) else None)
        for x, p in zip(arguments, fn.parameters, strict=True)
    ]
    for name, x, parameter in zip(fn.parameter_names, arrays, fn.parameters, strict=True):
        if x.dtype != parameter.dtype or x.ndim != len(parameter.shape):
            raise GradcTypeError(
                f"{fn.name}: the argument {name} is to be {parameter.type}, "
                f"but {display(x.type)} was given"
            )
    sizes = _bound(fn, arrays)
    return [_assumed(fn, i, x, sizes).value for i, x in enumerate(arrays)]


def _bound(fn: Function, arrays: Sequence[Tensor]) -> dict[str, Dim]:
    """What plain sizes of the function are here: a length with a name rather than one without."""
    sizes: dict[str, Dim] = {}
    for x, parameter in zip(arrays, fn.parameters, strict=True):
        for dim, length in zip(parameter.shape, x.shape, strict=True):
            if not isinstance(dim, SizeExpr) or len(dim.names) != 1:
                continue
            (name,) = dim.names
            if dim == size(name) and (name not in sizes or has_anonymous(sizes[name])):
                sizes[name] = length
    return sizes


def _assumed(fn: Function, position: int, x: Tensor, sizes: Mapping[str, Dim]) -> Tensor:
    shape = []
    for dim, length in zip(fn.parameters[position].shape, x.shape, strict=True):
        known = names_of((dim,)) <= sizes.keys()
        expected = substitute(dim, sizes) if known else length
        if same_length(expected, length) is None:
            raise GradcValueError(
                f"{fn.name}: the argument {fn.parameter_names[position]} is to have the type "
                f"{fn.parameters[position].type}, but {display(x.type)} was given",
                label=f"the length {dim} is {display(expected)} here, not {display(length)}",
            )
        shape.append(expected)
    return assume_shape(x, tuple(shape))
