"""Robot arm of 7 joints in Denavit-Hartenberg form: the position of its end, and the Jacobian.

Link i is Rz(q_i) Tz(d_i) Tx(a_i) Rx(alpha_i); inputs: q, a, d, cos alpha, sin alpha.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from workloads.workload import Arrays, Sizes, Workload

JOINTS = 7


def data(sizes: Sizes) -> Arrays:
    rng = np.random.default_rng(0)
    alpha = rng.uniform(-np.pi / 2, np.pi / 2, JOINTS)
    q, a, d = rng.normal(size=JOINTS), rng.uniform(0.1, 0.5, JOINTS), rng.uniform(0.1, 0.5, JOINTS)
    return q, a, d, np.cos(alpha), np.sin(alpha)


def end_position(xp: Any, join: Any, zero: Any, q: Any, a: Any, d: Any, ca: Any, sa: Any) -> Any:
    """Where the arm ends: the last column of the product of its links, in any array module."""
    c, s = xp.cos(q), xp.sin(q)
    rotation: Any = None
    position: Any = None
    for i in range(JOINTS):
        link = join(
            [
                join([c[i], -s[i] * ca[i], s[i] * sa[i]]),
                join([s[i], c[i] * ca[i], -c[i] * sa[i]]),
                join([zero, sa[i], ca[i]]),
            ]
        )
        step = join([a[i] * c[i], a[i] * s[i], d[i]])
        position = step if rotation is None else position + rotation @ step
        rotation = link if rotation is None else rotation @ link
    return position


def in_gradc(sizes: Sizes) -> tuple[Any, Any]:
    import gradc
    import gradc.tensor as gt

    inputs = [gt.tensor(name, shape=(JOINTS,)) for name in ("q", "a", "d", "ca", "sa")]
    end = end_position(gt, gt.stack, gt.asarray(0.0), *inputs)
    jacobian = gradc.function(inputs, [end, gradc.jacobian(end, inputs[0])], name="jacobian")
    return jacobian, gradc.function(inputs, end, name="end")


def in_jax(sizes: Sizes) -> Callable[..., Any]:
    import jax
    import jax.numpy as jnp

    def position(q: Any, *links: Any) -> Any:
        end = end_position(jnp, jnp.stack, jnp.asarray(0.0), q, *links)
        return end, end

    def jacobian(*inputs: Any) -> Any:
        J, end = jax.jacfwd(position, has_aux=True)(*inputs)
        return end, J

    return jacobian


def in_casadi(sizes: Sizes) -> Any:
    import casadi

    inputs = [casadi.SX.sym(name, JOINTS) for name in ("q", "a", "d", "ca", "sa")]

    def join(parts: Any) -> Any:
        rows = parts[0].shape == (3, 1)
        return casadi.vertcat(*(x.T for x in parts)) if rows else casadi.vertcat(*parts)

    end = end_position(casadi, join, casadi.SX(0), *inputs)
    return casadi.Function(
        "jacobian", inputs, [end, casadi.densify(casadi.jacobian(end, inputs[0]))]
    )


def chain(q: Any, a: Any, d: Any, ca: Any, sa: Any) -> tuple[Any, Any, Any]:
    """By hand: the axis and the origin of each joint, and the arm's end."""
    axes, origins = np.empty((2, JOINTS, 3))
    c, s = np.cos(q), np.sin(q)
    (x, y, z), p = np.eye(3), np.zeros(3)
    for i in range(JOINTS):
        axes[i], origins[i] = z, p
        x, v = c[i] * x + s[i] * y, c[i] * y - s[i] * x
        p = p + a[i] * x + d[i] * z
        y, z = ca[i] * v + sa[i] * z, ca[i] * z - sa[i] * v
    return axes, origins, p


def cross(a: Any, b: Any) -> Any:
    """np.cross of rows of 3, without its checks."""
    return a[..., [1, 2, 0]] * b[..., [2, 0, 1]] - a[..., [2, 0, 1]] * b[..., [1, 2, 0]]


def in_numpy(sizes: Sizes) -> Callable[..., Any]:
    def jacobian(*inputs: Any) -> Any:
        axes, origins, end = chain(*inputs)
        return end, cross(axes, end - origins).T

    return jacobian


def in_torch(sizes: Sizes) -> Callable[..., Any]:
    import torch

    def position(q: Any, *links: Any) -> Any:
        end = end_position(torch, torch.stack, torch.zeros((), dtype=torch.float64), q, *links)
        return end, end

    def jacobian(*inputs: Any) -> Any:
        J, end = torch.func.jacfwd(position, has_aux=True)(*inputs)
        return end, J

    return jacobian


def in_pytensor(sizes: Sizes) -> tuple[Any, Any]:
    import pytensor.tensor as pt
    from pytensor import grad

    inputs = [pt.tensor(x, dtype="float64", shape=(JOINTS,)) for x in ("q", "a", "d", "ca", "sa")]
    end = end_position(pt, pt.stack, pt.constant(0.0), *inputs)
    return inputs, [end, pt.stack([grad(end[i], inputs[0]) for i in range(3)])]


WORKLOAD = Workload(
    title="robot arm, position and Jacobian",
    cases={"7 joints": (JOINTS,)},
    data=data,
    outputs=lambda sizes: ((3,), (3, JOINTS)),
    gradc=in_gradc,
    cpp="robot_arm",
    peers={
        "jax": in_jax,
        "casadi": in_casadi,
        "numpy": in_numpy,
        "torch": in_torch,
        "pytensor": in_pytensor,
    },
)
