"""Robot arm of 7 joints: the Hessian of |end - target|^2 / 2 by the angles, times a vector."""

from collections.abc import Callable
from typing import Any

import numpy as np

from workloads import robot_arm
from workloads.robot_arm import JOINTS, end_position
from workloads.workload import Arrays, Sizes, Workload


def data(sizes: Sizes) -> Arrays:
    rng = np.random.default_rng(1)
    return *robot_arm.data(sizes), rng.normal(size=3), rng.normal(size=JOINTS)


def in_gradc(sizes: Sizes) -> tuple[Any, Any]:
    import gradc
    import gradc.tensor as gt
    from gradc import f64

    links = f64[JOINTS]

    @gradc.function
    def cost(q: links, a: links, d: links, ca: links, sa: links, target: f64[3]) -> Any:
        apart = end_position(gt, gt.stack, gt.asarray(0.0), q, a, d, ca, sa) - target
        return 0.5 * gt.sum(apart**2)

    return gradc.hvp(cost, wrt="q"), None


def in_jax(sizes: Sizes) -> Callable[..., Any]:
    import jax
    import jax.numpy as jnp

    def cost(q: Any, *others: Any) -> Any:
        *links, target = others
        return 0.5 * jnp.sum(
            (end_position(jnp, jnp.stack, jnp.asarray(0.0), q, *links) - target) ** 2
        )

    def product(q: Any, *others: Any) -> Any:
        *fixed, v = others
        return jax.jvp(lambda q: jax.grad(cost)(q, *fixed), (q,), (v,))[1]

    return product


def in_casadi(sizes: Sizes) -> Any:
    import casadi

    names = ("q", "a", "d", "ca", "sa", "target", "v")
    inputs = [casadi.SX.sym(name, 3 if name == "target" else JOINTS) for name in names]
    q, *links, target, v = inputs

    def join(parts: Any) -> Any:
        rows = parts[0].shape == (3, 1)
        return casadi.vertcat(*(x.T for x in parts)) if rows else casadi.vertcat(*parts)

    cost = 0.5 * casadi.sumsqr(end_position(casadi, join, casadi.SX(0), q, *links) - target)
    product = casadi.jtimes(casadi.gradient(cost, q), q, v)
    return casadi.Function("product", inputs, [product])


def in_numpy(sizes: Sizes) -> Callable[..., Any]:
    """By hand: with J_i = z_i x (end - p_i) and e = end - target, dJ_j/dq_i = z_i x J_j, i <= j."""

    def product(*inputs: Any) -> Any:
        *arm, target, v = inputs
        axes, origins, end = robot_arm.chain(*arm)
        J = robot_arm.cross(axes, end - origins)
        along = J * v[:, None]
        after = np.cumsum(along[::-1], axis=0)[::-1]
        turned = axes * v[:, None]
        before = np.cumsum(turned, axis=0) - turned
        second = robot_arm.cross(axes, after) + robot_arm.cross(before, J)
        return J @ after[0] + second @ (end - target)

    return product


def in_torch(sizes: Sizes) -> Callable[..., Any]:
    import torch

    def cost(q: Any, *others: Any) -> Any:
        *links, target = others
        end = end_position(torch, torch.stack, torch.zeros((), dtype=torch.float64), q, *links)
        return 0.5 * ((end - target) ** 2).sum()

    def product(q: Any, *others: Any) -> Any:
        *fixed, v = others
        return torch.func.jvp(lambda q: torch.func.grad(cost)(q, *fixed), (q,), (v,))[1]

    return product


def in_pytensor(sizes: Sizes) -> tuple[Any, Any]:
    import pytensor.tensor as pt
    from pytensor.gradient import hessian_vector_product

    lengths = dict.fromkeys(("q", "a", "d", "ca", "sa"), JOINTS) | {"target": 3, "v": JOINTS}
    inputs = [pt.tensor(x, dtype="float64", shape=(n,)) for x, n in lengths.items()]
    q, *links, target, v = inputs
    apart = end_position(pt, pt.stack, pt.constant(0.0), q, *links) - target
    return inputs, [hessian_vector_product(0.5 * pt.sum(apart**2), q, v)]


WORKLOAD = Workload(
    title="robot arm, Hessian-vector product",
    cases={"7 joints": (JOINTS,)},
    data=data,
    outputs=lambda sizes: ((JOINTS,),),
    gradc=in_gradc,
    cpp="robot_arm_hvp",
    peers={
        "jax": in_jax,
        "casadi": in_casadi,
        "numpy": in_numpy,
        "torch": in_torch,
        "pytensor": in_pytensor,
    },
)
