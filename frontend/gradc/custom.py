"""Ops and derivative rules of the user's own, written with `gradc.tensor`.

    cube = gradc.custom.Op(
        "cube",
        value=lambda x: x**3,
        pullback=lambda primals, result, cotangent: (cotangent * 3.0 * primals[0] ** 2,),
    )

A rule is given the inputs, the result (a tuple where there are several) and the tangents, or the
cotangent, all as symbolic arrays:

    pushforward(primals, result, tangents) -> the tangent of the result, a tuple for several
    pullback(primals, result, cotangent) -> the cotangents of the inputs, a tuple

The contract, for results C of inputs A and B and any scalar that depends on C: cotangents satisfy
Tr(C'^T dC) = Tr(A'^T dA) + Tr(B'^T dB) for every small change (dA, dB), where X' is the cotangent
of X and dC what the pushforward gives. `gradc.check_rule` tests it.

One rule is enough, the other is its transpose. Rules are parts of graphs as any others: they are
differentiated again for second derivatives, batched for Jacobians and compiled.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, TypeAlias

from gradc.errors import GradcError, GradcTypeError, GradcValueError
from gradc.ir.function import Function, UnboundValueError, Value, parameter
from gradc.ir.function import function as cut
from gradc.ir.ops.constants import zeros_like
from gradc.ir.ops.custom import CUT, NULL, VALUE, ZERO, custom
from gradc.ir.record import dataclass
from gradc.ir.span import at, current_span
from gradc.ir.types import ArrayType, DisconnectedType, NullType
from gradc.null import NoGradient
from gradc.tensor.operands import asarray, assume_shape, is_weak, result_type, same_length
from gradc.tensor.sizes import display
from gradc.tensor.source import users_line
from gradc.tensor.variable import Tensor

Rule: TypeAlias = Callable[..., Any]

# How often a rule may apply its own op to other arguments: a derivative of every higher order would
# need it once more.
_DEEPEST = 4


@dataclass(frozen=True, slots=True, eq=False)
class _Frame:
    """A rule that is being traced: the op, its inputs, and the result that stands for it there."""

    op: Op
    inputs: tuple[Value, ...]
    static: Mapping[str, Any]
    result: Any


_FRAMES: ContextVar[tuple[_Frame, ...]] = ContextVar("gradc_custom_rules", default=())


@dataclass(slots=True, eq=False, repr=False)
class Op:
    """A function of symbolic arrays with derivative rules of its own.

    value: a function of the inputs, written with `gradc.tensor`; or an external function (see
        `gradc.external`).
    pushforward, pullback: see the module. Where both are missing, derivatives go through `value`.

    It is called with arrays; a number takes the type of the arrays beside it. Keyword arguments are
    no arrays but settings, which `value` and the rules are given as they are.
    """

    name: str
    value: Callable[..., Any]
    pushforward: Rule | None = None
    pullback: Rule | None = None

    def __post_init__(self) -> None:
        for what in ("value", "pushforward", "pullback"):
            given = getattr(self, what)
            if not callable(given) and (given is not None or what == "value"):
                raise GradcTypeError(f"{self.name}: {what} is a function, not {given!r}")

    def __call__(self, *args: Any, **static: Any) -> Any:
        span = current_span() or users_line()
        with at(span):
            common = result_type(args) if any(is_weak(x) for x in args) else None
            inputs = tuple(asarray(x, common if is_weak(x) else None).value for x in args)
        for frame in reversed(_FRAMES.get()):
            same = len(frame.inputs) == len(inputs) and all(map(_same, frame.inputs, inputs))
            if frame.op is self and same and frame.static == static:
                return frame.result
        with at(None):
            attrs, single = _Tracing(self, [x.type for x in inputs], static).attributes()
        with at(span):
            made = custom(*inputs, **attrs)
        results = tuple(map(Tensor, made)) if isinstance(made, tuple) else (Tensor(made),)
        return results[0] if single else results

    def __repr__(self) -> str:
        return f"<gradc custom op {self.name}>"

    def defjvp(self, rule: Rule) -> Rule:
        """Set the forward rule: `rule(primals, tangents) -> (result, tangent of the result)`.

        The result is the one that the op has anyway. Returns the rule: a decorator.
        """
        self.pushforward = _Forward(self.name, rule)
        return rule

    def defvjp(self, forward: Rule, backward: Rule) -> None:
        """Set the reverse rule, in two parts.

        forward(*primals) -> (result, residuals), where residuals are anything made of arrays;
        backward(residuals, cotangent) -> the cotangents of the inputs, a tuple.
        """
        self.pullback = _Backward(self.name, forward, backward)


def custom_jvp(python: Callable[..., Any]) -> Op:
    """A function of symbolic arrays whose forward rule is set by `.defjvp`.

        @gradc.custom_jvp
        def f(x): return gt.log1p(gt.exp(x))

        @f.defjvp
        def _(primals, tangents): ...; return f(x), tangent

    The reverse rule is its transpose.
    """
    return Op(getattr(python, "__name__", "function"), python)


def custom_vjp(python: Callable[..., Any]) -> Op:
    """A function of symbolic arrays whose reverse rule is set by `.defvjp(forward, backward)`.

    The forward rule is its transpose.
    """
    return Op(getattr(python, "__name__", "function"), python)


@dataclass(frozen=True, slots=True, eq=False)
class _Forward:
    """A pushforward from a rule `(primals, tangents) -> (result, tangent)`."""

    name: str
    rule: Rule

    def __call__(self, primals: Any, result: Any, tangents: Any, **static: Any) -> Any:
        _, tangent = _pair(
            self.rule(primals, tangents, **static),
            f"{self.name}: the rule of defjvp returns (result, tangent of the result)",
        )
        return tangent


@dataclass(frozen=True, slots=True, eq=False)
class _Backward:
    """A pullback from `forward(*primals) -> (result, residuals)` and `backward`."""

    name: str
    forward: Rule
    backward: Rule

    def __call__(self, primals: Any, result: Any, cotangent: Any, **static: Any) -> Any:
        _, residuals = _pair(
            self.forward(*primals, **static),
            f"{self.name}: the forward part of defvjp returns (result, residuals)",
        )
        return self.backward(residuals, cotangent, **static)


def _pair(given: Any, what: str) -> tuple[Any, Any]:
    if isinstance(given, tuple | list) and len(given) == 2:
        return given[0], given[1]
    raise GradcTypeError(f"{what}, not {given!r}")


# --- tracing -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Tracing:
    """The regions of an op for inputs of these types."""

    op: Op
    types: Sequence[ArrayType]
    static: Mapping[str, Any]

    def attributes(self) -> tuple[dict[str, Any], bool]:
        """The attributes of the equation, and whether it has one result rather than a tuple."""
        op = self.op
        value, single = self._value()
        types = [r.type for r in value.results]
        reason = self._too_deep()
        attrs: dict[str, Any] = {"name": op.name, "value": value, "answers": ()}
        attrs["pushforward"] = attrs["pullback"] = None
        if op.pushforward is not None:
            found = (reason, ()) if reason else self._pushforward(types, single)
            attrs["pushforward"], attrs["moves"] = found
        if op.pullback is not None:
            found = (reason, ()) if reason else self._pullback(types, single)
            attrs["pullback"], attrs["answers"] = found
        return attrs, single

    def _too_deep(self) -> str | None:
        if sum(frame.op is self.op for frame in _FRAMES.get()) < _DEEPEST:
            return None
        return (
            f"a rule of {self.op.name} applies {self.op.name} to other arguments, so that its "
            f"derivatives are there up to the order {_DEEPEST} only"
        )

    def _inputs(self) -> tuple[Value, ...]:
        names = _parameter_names(self.op.value, len(self.types))
        return tuple(parameter(t, name) for t, name in zip(self.types, names, strict=True))

    def _value(self) -> tuple[Function, bool]:
        inputs = self._inputs()
        found = self._called("value", self.op.value, *map(Tensor, inputs))
        single = not isinstance(found, tuple | list)
        results = self._arrays("value", [found] if single else found)
        return self._region("value", inputs, results), single

    def _pushforward(
        self, types: Sequence[ArrayType], single: bool
    ) -> tuple[Function, tuple[str, ...]]:
        inputs, results = self._inputs(), _named(types, "result")
        tangents = [parameter(x.type, f"{x.name}_tangent") for x in inputs if x.dtype.is_float]
        rest = iter(tangents)
        given = tuple(Tensor(next(rest)) if x.dtype.is_float else None for x in inputs)
        found = self._with_rule("pushforward", inputs, results, single, given)
        answers = [found] if single else self._as_tuple("pushforward", found, len(types), "result")
        floats = [(a, r) for a, r in zip(answers, results, strict=True) if r.dtype.is_float]
        moves = tuple(_answer(r, a) for a, r in floats)
        arrays = [
            self._fitted("pushforward", "tangent", "result", answer, result)
            for (answer, result), state in zip(floats, moves, strict=True)
            if state == VALUE
        ]
        return self._region("pushforward", (*inputs, *results, *tangents), arrays), moves

    def _pullback(
        self, types: Sequence[ArrayType], single: bool
    ) -> tuple[Function, tuple[str, ...]]:
        inputs, results = self._inputs(), _named(types, "result")
        seeds = [parameter(r.type, f"{r.name}_cotangent") for r in results if r.dtype.is_float]
        rest = iter(seeds)
        given = tuple(Tensor(next(rest)) if r.dtype.is_float else None for r in results)
        found = self._with_rule("pullback", inputs, results, single, given[0] if single else given)
        if len(inputs) == 1 and not isinstance(found, tuple | list):
            found = (found,)
        answers = self._as_tuple("pullback", found, len(inputs), "input")
        states = [_answer(x, answer) for x, answer in zip(inputs, answers, strict=True)]
        arrays = [
            self._fitted("pullback", "cotangent", "input", answer, x)
            for answer, x, state in zip(answers, inputs, states, strict=True)
            if state == VALUE
        ]
        return self._region("pullback", (*inputs, *results, *seeds), arrays), tuple(states)

    def _with_rule(
        self,
        role: str,
        inputs: tuple[Value, ...],
        results: Sequence[Value],
        single: bool,
        given: Any,
    ) -> Any:
        """What a rule returns; in it, the op of the same inputs is the result that it is given."""
        primals = tuple(map(Tensor, inputs))
        result: Any = tuple(map(Tensor, results))
        result = result[0] if single else result
        frame = _Frame(self.op, inputs, self.static, result)
        token = _FRAMES.set((*_FRAMES.get(), frame))
        try:
            return self._called(role, getattr(self.op, role), primals, result, given)
        finally:
            _FRAMES.reset(token)

    def _called(self, role: str, python: Callable[..., Any], *args: Any) -> Any:
        try:
            return python(*args, **self.static)
        except GradcError:
            raise
        except TypeError as error:
            if _is_of_the_call(error):
                raise GradcTypeError(f"{self.op.name}: the {role} was called: {error}") from error
            raise

    def _arrays(self, role: str, found: Sequence[Any]) -> list[Value]:
        if not found or any(x is None for x in found):
            raise GradcTypeError(
                f"{self.op.name}: the {role} returned {found!r}",
                hint="return the array, or a tuple of arrays",
            )
        return [asarray(x).value for x in found]

    def _as_tuple(self, role: str, found: Any, count: int, what: str) -> Sequence[Any]:
        if not isinstance(found, tuple | list) or len(found) != count:
            given = f"{len(found)} of them" if isinstance(found, tuple | list) else repr(found)
            part = "tangents" if role == "pushforward" else "cotangents"
            raise GradcTypeError(
                f"{self.op.name}: the {role} returns a tuple of {part}, one for each of the "
                f"{count} {what}{'s' if count != 1 else ''}, not {given}"
            )
        return found

    def _fitted(self, role: str, part: str, what: str, answer: Any, model: Value) -> Value:
        """A tangent or cotangent in the type of the value that it belongs to; None is zero."""
        if answer is None or (isinstance(answer, int | float) and answer == 0):
            return zeros_like(model)
        array = asarray(answer)
        pairs = list(zip(array.shape, model.shape, strict=False))
        lengths = [same_length(given, wanted) for given, wanted in pairs]
        if array.dtype != model.dtype or array.ndim != len(model.shape) or None in lengths:
            raise GradcTypeError(
                f"{self.op.name}: the {role} returned a {part} of type {display(array.type)} for "
                f"the {what} {model.name}: {display(model.type)}",
                hint=f"a {part} has the type of its {what}",
            )
        return assume_shape(array, model.shape).value

    def _region(self, role: str, parameters: Sequence[Value], results: Sequence[Value]) -> Function:
        name = self.op.name if role == "value" else f"{self.op.name}_{role}"
        try:
            return cut(name, parameters, results)
        except UnboundValueError as error:
            free = error.value
            where = f" (made at {free.span})" if free.span else ""
            raise GradcValueError(
                f"{self.op.name}: the {role} reads {free.name or 'a variable'}: "
                f"{display(free.type)}{where}, which is none of its arguments",
                hint="make it an argument of the function, with its own derivative",
            ) from error


def _answer(x: Value, answer: Any) -> str:
    """What a pullback's answer for the input x says, or a pushforward's for the result x."""
    kind = answer.type if isinstance(answer, NoGradient) else answer
    if isinstance(kind, NullType | DisconnectedType):
        return CUT if isinstance(kind, DisconnectedType) else f"{NULL}{kind.why_null}"
    if answer is None or not x.dtype.is_float:
        return ZERO
    return ZERO if isinstance(answer, int | float) and answer == 0 else VALUE


def _named(types: Sequence[ArrayType], stem: str) -> tuple[Value, ...]:
    names = [stem] if len(types) == 1 else [f"{stem}{i}" for i in range(len(types))]
    return tuple(parameter(t, name) for t, name in zip(types, names, strict=True))


def _parameter_names(python: Callable[..., Any], count: int) -> list[str]:
    """The names of a function's parameters, so far as it has any; else x0, x1."""
    try:
        known = list(inspect.signature(python).parameters.values())
    except (TypeError, ValueError):
        known = []
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [p.name for p in known if p.kind in kinds][:count]
    return names + [f"x{i}" for i in range(len(names), count)]


def _is_of_the_call(error: TypeError) -> bool:
    """Whether the error is Python's about the arguments of a call, not one from within it."""
    trace = error.__traceback__
    return trace is not None and trace.tb_next is None


def _same(a: object, b: object) -> bool:
    return a is b
