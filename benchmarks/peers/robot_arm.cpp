// Position of a robot arm's end and its Jacobian by the joint angles: column i is z_i x (end - p_i).
#include "robot_arm.hpp"

EXPORT int64_t workspace(const int64_t *) { return 0; }

EXPORT int32_t gradient(const int64_t *, Inputs in, Outputs out, void *) {
    const Chain c = chain(input(in, 0), input(in, 1), input(in, 2), input(in, 3), input(in, 4));
    double *end = output(out, 0), *J = output(out, 1);
    end[0] = c.end.x, end[1] = c.end.y, end[2] = c.end.z;
    for (int i = 0; i < JOINTS; i++) {
        const Point column = cross(c.axis[i], c.end - c.origin[i]);
        J[i] = column.x, J[JOINTS + i] = column.y, J[2 * JOINTS + i] = column.z;
    }
    return 0;
}
