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


WORKLOAD = Workload(
    title="robot arm, position and Jacobian",
    cases={"7 joints": (JOINTS,)},
    data=data,
    outputs=lambda sizes: ((3,), (3, JOINTS)),
    gradc=in_gradc,
    cpp="robot_arm",
    peers={"jax": in_jax, "casadi": in_casadi},
)
