// Potential energy of n bodies with softened gravity, and its gradient by the positions:
// E = -sum_{i<j} m_i m_j / sqrt(|x_i - x_j|^2 + eps^2). Each pair once would need scattered updates;
// all pairs with one row of vectors a body are faster, and need no store inside.
#include "peer.hpp"

EXPORT int64_t workspace(const int64_t *sizes) { return 3 * (sizes[0] + 2 * LANES) * 8 + 64; }

EXPORT int32_t gradient(const int64_t *sizes, Inputs in, Outputs out, void *work) {
    const int64_t n = sizes[0];
    const double *position = input(in, 0), *mass = input(in, 1), eps = *input(in, 2);
    double *value = output(out, 0), *g = output(out, 1);
    const int64_t stride = (n + LANES - 1) / LANES * LANES;
    double *x = static_cast<double *>(work), *y = x + stride, *z = y + stride;
    for (int64_t i = 0; i < n; i++)
        x[i] = position[3 * i], y[i] = position[3 * i + 1], z[i] = position[3 * i + 2];
    double energy = 0;
    for (int64_t i = 0; i < n; i++) {
        const double xi = x[i], yi = y[i], zi = z[i];
        double e = 0, fx = 0, fy = 0, fz = 0;
        for (int64_t j = 0; j < n; j++) {
            const double u = xi - x[j], v = yi - y[j], w = zi - z[j];
            const double square = u * u + v * v + w * w + eps * eps;
            const double inverse = 1 / std::sqrt(square), a = mass[j] * inverse;
            const double b = a * inverse * inverse;
            e += a, fx += b * u, fy += b * v, fz += b * w;
        }
        energy += mass[i] * (e - mass[i] / eps);
        g[3 * i] = mass[i] * fx, g[3 * i + 1] = mass[i] * fy, g[3 * i + 2] = mass[i] * fz;
    }
    *value = -0.5 * energy;
    return 0;
}
