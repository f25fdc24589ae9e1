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

    inputs = [pt.matrix("cameras"), pt.matrix("points"), pt.vector("weights")]
    inputs += [pt.matrix("features"), pt.lvector("camera"), pt.lvector("point")]
    cameras, points, weights, features, which_camera, which_point = inputs
    camera, point = cameras[which_camera], points[which_point]
    r = residuals(pt, pt.stack, camera, point, weights, features)
    rows = []
    for i in range(2):
        by_camera, by_point, by_weight = grad(pt.sum(r[:, i]), [camera, point, weights])
        rows.append(pt.concatenate([by_camera, by_point, by_weight[:, None]], axis=1))
    return inputs, [r, pt.stack(rows, axis=1)]


WORKLOAD = Workload(
    title="bundle adjustment, residuals and Jacobian blocks",
    cases={"30,000 observations": (30_000, 50, 5_000)},
    data=data,
    outputs=lambda sizes: ((sizes[0], 2), (sizes[0], 2, 15)),
    gradc=in_gradc,
    cpp="bundle_adjustment",
    peers={"jax": in_jax, "torch": in_torch, "pytensor": in_pytensor},
)
