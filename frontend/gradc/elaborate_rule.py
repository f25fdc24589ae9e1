"""Derivative rules: `derivative of f(x, y) -> value by pullback(c) { ... }`."""

from __future__ import annotations

from collections.abc import Sequence

from gradc import syntax
from gradc.diagnostics import Diagnostic, Refused, refuse
from gradc.elaborate_body import checked_result, run_body
from gradc.elaborate_header import bind_new, collected
from gradc.expressions import POISON, Binding, Evaluated, Poison, Scope
from gradc.ir.dims import size
from gradc.ir.function import Function, Value, function, parameter
from gradc.ir.lowering import External
from gradc.ir.ops.custom import VALUE, ZERO, custom
from gradc.ir.span import Span, at
from gradc.ir.transforms.zeros import zeros
from gradc.tensor import Tensor


def with_rules(
    made: Function, rules: Sequence[syntax.Rule], module: Scope, errors: list[Diagnostic]
) -> Function | Poison:
    """The function whose derivatives are what the rules say; POISON where these have errors."""
    regions: dict[str, Function] = {}
    count = len(errors)
    for rule in rules:
        with collected(errors, rule.span):
            regions[rule.kind.text] = _region(rule, made, module, errors)
    if len(errors) > count or len(regions) < len(rules):
        return POISON
    pullback = regions.get("pullback")
    answers = tuple(VALUE if p.dtype.is_float else ZERO for p in made.parameters)
    inputs = [parameter(p.type, p.name, p.span) for p in made.parameters]
    is_external = any(isinstance(e.op.lower, External) for e in made.equations)
    with at(None if is_external else rules[0].name.span):  # without a place: that of the call
        result = custom(
            *inputs,
            name=made.name,
            value=made,
            pushforward=regions.get("pushforward"),
            pullback=pullback,
            answers=answers if pullback is not None else (),
        )
    results = result if isinstance(result, tuple) else (result,)
    return function(made.name, inputs, results, made.requires, made.result_names)


def _region(rule: syntax.Rule, made: Function, module: Scope, errors: list[Diagnostic]) -> Function:
    """(parameters, results, directions) -> what the rule's body gives. Raises Refused."""
    scope = module.inner()
    for name in made.sizes:
        scope.values.setdefault(name, Binding(size(name), rule.name.span, "size"))
    pulls = rule.kind.text == "pullback"
    floats = [v for v in made.parameters if v.dtype.is_float]
    float_results = [v for v in made.results if v.dtype.is_float]
    entering, leaving = (float_results, floats) if pulls else (floats, float_results)
    part = "a cotangent for each float result" if pulls else "a tangent for each float parameter"
    _check_count(rule, rule.parameters, made.parameters, "a name for each parameter")
    if rule.results:
        _check_count(rule, rule.results, made.results, "a name for each result")
    _check_count(rule, rule.directions, entering, part)
    inputs = _bound(rule.parameters, made.parameters, "parameter", scope)
    if rule.results:
        results = _bound(rule.results, made.results, "result", scope)
    else:
        results = [parameter(v.type, f"result{i}") for i, v in enumerate(made.results)]
    kind = "cotangent" if pulls else "tangent"
    directions = _bound(rule.directions, entering, kind, scope)
    value, place = run_body(rule, scope, errors)
    found = _answers(rule, value, place, leaving, "float parameter" if pulls else "float result")
    name = f"{made.name}_{rule.kind.text}"
    return function(name, (*inputs, *results, *directions), found)


def _check_count(
    rule: syntax.Rule, names: Sequence[syntax.Name], values: Sequence[Value], what: str
) -> None:
    if len(names) == len(values):
        return
    types = ", ".join(str(v.type) for v in values) or "none"
    first = names[0].span if names else rule.kind.span
    raise refuse(
        "G0401" if len(names) > len(values) else "G0402",
        f"the {rule.kind.text} of `{rule.name.text}` takes {what}: {len(values)}, not {len(names)}",
        first,
        notes=(f"they have the types {types}",),
    )


def _bound(
    names: Sequence[syntax.Name], models: Sequence[Value], kind: str, scope: Scope
) -> list[Value]:
    """New values of the models' types, bound to the names."""
    found = [parameter(v.type, n.text, n.span) for n, v in zip(names, models, strict=True)]
    for name, value in zip(names, found, strict=True):
        bind_new(name, Tensor(value), kind, scope)
    return found


def _answers(
    rule: syntax.Rule,
    value: Evaluated,
    place: syntax.Expression,
    models: Sequence[Value],
    what: str,
) -> list[Value]:
    """The results of a rule's body, one for each of the models and of its type; 0 is a zero."""
    values = value if isinstance(value, tuple) else (value,)
    nodes = place.items if isinstance(place, syntax.Tuple) else (place,) * len(values)
    if len(values) != len(models):
        raise refuse(
            "G0314",
            f"the {rule.kind.text} of `{rule.name.text}` gives one array for each {what}: "
            f"{len(models)}, not {len(values)}",
            place.span,
            f"{len(values)} given",
        )
    found = []
    for part, node, model in zip(values, nodes, models, strict=True):
        if isinstance(part, int | float) and not isinstance(part, bool) and part == 0:
            with at(node.span):
                found.append(zeros(model.type))
        else:
            found.append(_fitted(rule, part, node.span, model))
    return found


def _fitted(rule: syntax.Rule, part: Evaluated, span: Span, model: Value) -> Value:
    try:
        return checked_result(part, span, model.type, rule.name.span)
    except Refused as refused:
        if refused.diagnostic.code != "G0315":
            raise
        kind = "cotangent" if rule.kind.text == "pullback" else "tangent"
        raise refuse(
            "G0315",
            f"the {kind} of `{model.name or rule.name.text}` has its type, {model.type}",
            span,
            refused.diagnostic.primary.text,
        ) from refused
