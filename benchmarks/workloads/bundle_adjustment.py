"""Bundle adjustment (ADBench): residuals, and the 2 x 15 block of the Jacobian an observation.

A camera is a rotation vector (3), centre (3), focal length, principal point (2), two coefficients
of radial distortion. Columns of a block: camera 11, point 3, weight 1.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from workloads.workload import Arrays, Sizes, Workload


def data(sizes: Sizes) -> Arrays:
    n, cameras, points = sizes
    rng = np.random.default_rng(0)
    camera = np.empty((cameras, 11))
    camera[:, :3], camera[:, 3:6] = rng.normal(size=(2, cameras, 3)) * 0.5
    camera[:, 5] -= 5
    camera[:, 6], camera[:, 7:9] = 500, 300
    camera[:, 9:] = rng.normal(size=(cameras, 2)) * 0.01
    point, weight = rng.normal(size=(points, 3)) * 0.5, rng.uniform(0.5, 1.5, n)
    features = rng.uniform(200, 400, (n, 2))
    return camera, point, weight, features, rng.integers(0, cameras, n), rng.integers(0, points, n)


def residuals(np_like: Any, join: Any, camera: Any, point: Any, weight: Any, features: Any) -> Any:
    """The formula of ADBench in any array module, for rows of observations."""
    r, f, centre, k = camera[:, :3], camera[:, 6:7], camera[:, 7:9], camera[:, 9:]
    X = point - camera[:, 3:6]
    angle = np_like.sqrt((r**2).sum(1))[:, None]
    axis = r / angle
    a, b, c = axis[:, 0], axis[:, 1], axis[:, 2]
    x, y, z = X[:, 0], X[:, 1], X[:, 2]
    cross = join([b * z - c * y, c * x - a * z, a * y - b * x], 1)
    cosine, sine = np_like.cos(angle), np_like.sin(angle)
    Y = cosine * X + sine * cross + (1 - cosine) * (axis * X).sum(1)[:, None] * axis
    p = Y[:, :2] / Y[:, 2:]
    s = (p**2).sum(1)[:, None]
    distorted = p * (1 + k[:, :1] * s + k[:, 1:] * s**2)
    return weight[:, None] * (f * distorted + centre - features)


def in_gradc(sizes: Sizes) -> tuple[Any, Any]:
    import gradc
    import gradc.tensor as gt

    cameras = gt.tensor("cameras", shape=("cameras", 11))
    points = gt.tensor("points", shape=("points", 3))
    weights, features = gt.tensor("weights", shape=("n",)), gt.tensor("features", shape=("n", 2))
    which_camera, which_point = (gt.tensor(x, "i64", ("n",)) for x in ("camera", "point"))
    camera, point = cameras[which_camera], points[which_point]
    r = residuals(gt, gt.stack, camera, point, weights, features)
    rows = []
    for i in range(2):  # an observation's residual depends on its own copy of camera and point
        by_camera, by_point, by_weight = gradc.grad(gt.sum(r[:, i]), [camera, point, weights])
        rows.append(gt.concat([by_camera, by_point, by_weight[:, None]], axis=1))
    inputs = [cameras, points, weights, features, which_camera, which_point]
    jacobian = gradc.function(inputs, [r, gt.stack(rows, axis=1)], name="jacobian")
    return jacobian, gradc.function(inputs, r, name="residuals")


def in_jax(sizes: Sizes) -> Callable[..., Any]:
    import jax
    import jax.numpy as jnp

    def one(all_15: Any, features: Any) -> Any:
        rows = all_15[None, :11], all_15[None, 11:14], all_15[14:], features[None]
        return residuals(jnp, jnp.stack, *rows)[0]

    def jacobian(
        cameras: Any, points: Any, weights: Any, features: Any, camera: Any, point: Any
    ) -> Any:
        parameters = jnp.concatenate([cameras[camera], points[point], weights[:, None]], axis=1)
        r = jax.vmap(one)(parameters, features)
        return r, jax.vmap(jax.jacrev(one))(parameters, features)

    return jacobian


def in_torch(sizes: Sizes) -> Callable[..., Any]:
    import torch

    def one(all_15: Any, features: Any) -> Any:
        rows = all_15[None, :11], all_15[None, 11:14], all_15[14:], features[None]
        r = residuals(torch, torch.stack, *rows)[0]
        return r, r

    def jacobian(
        cameras: Any, points: Any, weights: Any, features: Any, camera: Any, point: Any
    ) -> Any:
        parameters = torch.cat([cameras[camera], points[point], weights[:, None]], 1)
        blocks, r = torch.func.vmap(torch.func.jacrev(one, has_aux=True))(parameters, features)
        return r, blocks

    return jacobian


def in_pytensor(sizes: Sizes) -> tuple[Any, Any]:
    import pytensor.tensor as pt
    from pytensor import grad

    shapes = {"cameras": (None, 11), "points": (None, 3), "weights": (None,), "features": (None, 2)}
    inputs = [pt.tensor(name, dtype="float64", shape=shape) for name, shape in shapes.items()]
    inputs += [pt.lvector("camera"), pt.lvector("point")]
    cameras, points, weights, features, which_camera, which_point = inputs
    camera, point = cameras[which_camera], points[which_point]
    r = residuals(pt, pt.stack, camera, point, weights, features)
    rows = []
    for i in range(2):
        by_camera, by_point, by_weight = grad(pt.sum(r[:, i]), [camera, point, weights])
        rows.append(pt.concatenate([by_camera, by_point, by_weight[:, None]], axis=1))
    return inputs, [r, pt.stack(rows, axis=1)]


def in_casadi(sizes: Sizes) -> Any:
    """One observation as scalars, mapped over all; the indices are known when it is built."""
    import casadi

    n, cameras, points = sizes
    parameters, features = casadi.SX.sym("parameters", 15), casadi.SX.sym("features", 2)
    camera, point, weight = parameters[:11], parameters[11:14], parameters[14]
    r, centre, k = camera[:3], camera[7:9], camera[9:]
    X = point - camera[3:6]
    angle = casadi.sqrt(casadi.sumsqr(r))
    axis = r / angle
    Y = casadi.cos(angle) * X + casadi.sin(angle) * casadi.cross(axis, X)
    Y += (1 - casadi.cos(angle)) * casadi.dot(axis, X) * axis
    p = Y[:2] / Y[2]
    s = casadi.sumsqr(p)
    apart = weight * (camera[6] * (p * (1 + k[0] * s + k[1] * s**2)) + centre - features)
    J = casadi.densify(casadi.jacobian(apart, parameters))
    one = casadi.Function("one", [parameters, features], [apart, casadi.vec(J.T)])

    inputs = [casadi.MX.sym("cameras", 11, cameras), casadi.MX.sym("points", 3, points)]
    inputs += [casadi.MX.sym("weights", n), casadi.MX.sym("features", 2, n)]
    inputs += [casadi.MX.sym("camera", n), casadi.MX.sym("point", n)]
    *_, which_camera, which_point = (x.tolist() for x in data(sizes)[4:])
    own = casadi.vertcat(inputs[0][:, which_camera], inputs[1][:, which_point], inputs[2].T)
    return casadi.Function("blocks", inputs, one.map(n)(own, inputs[3]))


def in_numpy(sizes: Sizes) -> Callable[..., Any]:
    """By hand: Rodrigues' formula Y = c X + a r x X + b (r . X) r and its derivatives."""

    def skew(v: Any) -> Any:
        zero = np.zeros(len(v))
        x, y, z = v.T
        rows = [np.stack(row, 1) for row in ((zero, -z, y), (z, zero, -x), (-y, x, zero))]
        return np.stack(rows, 1)

    def jacobian(
        cameras: Any, points: Any, weights: Any, features: Any, which: Any, point: Any
    ) -> Any:
        camera = cameras[which]
        r, f, centre, k = camera[:, :3], camera[:, 6], camera[:, 7:9], camera[:, 9:]
        X = points[point] - camera[:, 3:6]
        square = np.einsum("ni,ni->n", r, r)
        angle = np.sqrt(square)
        c, a = np.cos(angle), np.sin(angle) / angle
        b = (1 - c) / square
        da, db = (c - a) / square, (a - 2 * b) / square
        along, C = np.einsum("ni,ni->n", r, X), np.cross(r, X)
        Y = c[:, None] * X + a[:, None] * C + (b * along)[:, None] * r
        Z = -a[:, None] * X + da[:, None] * C + (db * along)[:, None] * r
        by_r = Z[:, :, None] * r[:, None] - a[:, None, None] * skew(X)
        by_r += b[:, None, None] * r[:, :, None] * X[:, None]
        R = a[:, None, None] * skew(r) + b[:, None, None] * r[:, :, None] * r[:, None]
        by_r[:, range(3), range(3)] += (b * along)[:, None]
        R[:, range(3), range(3)] += c[:, None]
        p = Y[:, :2] / Y[:, 2:]
        s = np.einsum("ni,ni->n", p, p)
        L, D = 1 + s * (k[:, 0] + s * k[:, 1]), 2 * (k[:, 0] + 2 * k[:, 1] * s)
        apart = (f * L)[:, None] * p + centre - features
        wf = (weights * f)[:, None]
        by_p = (wf * D[:, None])[:, :, None] * p[:, :, None] * p[:, None]
        by_p[:, range(2), range(2)] += wf * L[:, None]
        by_Y = np.concatenate([by_p, -np.einsum("nij,nj->ni", by_p, p)[:, :, None]], 2)
        by_Y /= Y[:, 2, None, None]
        J = np.zeros((len(weights), 2, 15))
        J[:, :, :3], J[:, :, 11:14] = by_Y @ by_r, by_Y @ R
        J[:, :, 3:6] = -J[:, :, 11:14]
        J[:, :, 6] = (weights * L)[:, None] * p
        J[:, range(2), range(7, 9)] = weights[:, None]
        J[:, :, 9] = wf * s[:, None] * p
        J[:, :, 10] = wf * (s**2)[:, None] * p
        J[:, :, 14] = apart
        return weights[:, None] * apart, J

    return jacobian


WORKLOAD = Workload(
    title="bundle adjustment, residuals and Jacobian blocks",
    cases={"30,000 observations": (30_000, 50, 5_000)},
    data=data,
    outputs=lambda sizes: ((sizes[0], 2), (sizes[0], 2, 15)),
    gradc=in_gradc,
    cpp="bundle_adjustment",
    peers={
        "jax": in_jax,
        "torch": in_torch,
        "pytensor": in_pytensor,
        "casadi": in_casadi,
        "numpy": in_numpy,
    },
)
