// Rosenbrock's function of n variables: value, gradient, and the Hessian, which has three diagonals.
#include "peer.hpp"

EXPORT int64_t workspace(const int64_t *) { return 0; }

EXPORT int32_t gradient(const int64_t *sizes, Inputs in, Outputs out, void *) {
    const int64_t n = sizes[0];
    const double *__restrict x = input(in, 0);
    double *__restrict g = output(out, 1), *__restrict H = output(out, 2), value = 0;
    std::fill(H, H + n * n, 0.0);
    g[0] = 0;
    for (int64_t i = 0; i + 1 < n; i++) {
        const double u = x[i + 1] - x[i] * x[i], v = 1 - x[i];
        value += 100 * u * u + v * v;
        g[i] += -400 * u * x[i] - 2 * v;
        g[i + 1] = 200 * u;
        H[i * n + i] += 1200 * x[i] * x[i] - 400 * x[i + 1] + 2;
        H[(i + 1) * n + i + 1] = 200;
        H[i * n + i + 1] = H[(i + 1) * n + i] = -400 * x[i];
    }
    *output(out, 0) = value;
    return 0;
}
