// Hessian of |end - target|^2 / 2 by the joint angles, times v. With columns J_i = z_i x (end - p_i),
// e = end - target, and d J_j / d q_i = z_i x J_j for i <= j (symmetric):
//     (H v)_i = J_i . (J v) + e . (z_i x sum_{j >= i} J_j v_j + (sum_{j < i} v_j z_j) x J_i)
#include "robot_arm.hpp"

EXPORT int64_t workspace(const int64_t *) { return 0; }

EXPORT int32_t gradient(const int64_t *, Inputs in, Outputs out, void *) {
    const Chain c = chain(input(in, 0), input(in, 1), input(in, 2), input(in, 3), input(in, 4));
    const double *target = input(in, 5), *v = input(in, 6);
    double *product = output(out, 0);
    const Point e = c.end - Point{target[0], target[1], target[2]};
    Point J[JOINTS], after[JOINTS + 1], before = {0, 0, 0};
    after[JOINTS] = {0, 0, 0};
    for (int i = JOINTS - 1; i >= 0; i--) {
        J[i] = cross(c.axis[i], c.end - c.origin[i]);
        after[i] = after[i + 1] + v[i] * J[i];
    }
    for (int i = 0; i < JOINTS; i++) {
        const Point second = cross(c.axis[i], after[i]) + cross(before, J[i]);
        product[i] = dot(J[i], after[0]) + dot(e, second);
        before = before + v[i] * c.axis[i];
    }
    return 0;
}
