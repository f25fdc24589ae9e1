// k-means: the sum of squared distances to the nearest centre, and its gradient by the centres.
// Lanes are points; the nearest centre's number is kept in a vector; then each point adds itself.
#include "peer.hpp"

using mask = vec_of_integers;
constexpr int64_t VECTORS = 2, POINTS = VECTORS * LANES;

EXPORT int64_t workspace(const int64_t *sizes) {
    return (sizes[1] * POINTS + sizes[2] * (sizes[1] + 1)) * 8;
}

EXPORT int32_t gradient(const int64_t *sizes, Inputs in, Outputs out, void *work) {
    const int64_t n = sizes[0], d = sizes[1], k = sizes[2];
    const double *centres = input(in, 0), *points = input(in, 1);
    double *value = output(out, 0), *g = output(out, 1);
    double *x = static_cast<double *>(work), *sums = x + d * POINTS, *count = sums + k * d;
    std::fill(sums, count + k, 0.0);
    double total = 0;
    for (int64_t i = 0; i < n; i += POINTS) {
        const int64_t rows = std::min(POINTS, n - i);
        for (int64_t p = 0; p < POINTS; p++)
            for (int64_t a = 0; a < d; a++) x[a * POINTS + p] = points[(i + std::min(p, rows - 1)) * d + a];
        vec best[VECTORS];
        mask who[VECTORS] = {};
        for (auto &b : best) b = vec{} + 1e300;
        int64_t c = 0;
        for (; c + 4 <= k; c += 4) {
            vec s[4][VECTORS] = {};
            for (int64_t a = 0; a < d; a++) {
#pragma GCC unroll 2
                for (int64_t v = 0; v < VECTORS; v++) {
                    const vec u = load(x + a * POINTS + v * LANES);
#pragma GCC unroll 4
                    for (int64_t q = 0; q < 4; q++) {
                        const vec e = u - centres[(c + q) * d + a];
                        s[q][v] += e * e;
                    }
                }
            }
            for (int64_t q = 0; q < 4; q++)
                for (int64_t v = 0; v < VECTORS; v++) {
                    const mask less = s[q][v] < best[v];
                    best[v] = less ? s[q][v] : best[v];
                    who[v] = less ? mask{} + (c + q) : who[v];
                }
        }
        for (; c < k; c++)
            for (int64_t v = 0; v < VECTORS; v++) {
                vec s = {};
                for (int64_t a = 0; a < d; a++) {
                    const vec e = load(x + a * POINTS + v * LANES) - centres[c * d + a];
                    s += e * e;
                }
                const mask less = s < best[v];
                best[v] = less ? s : best[v];
                who[v] = less ? mask{} + c : who[v];
            }
        for (int64_t p = 0; p < rows; p++) {
            const int64_t nearest = who[p / LANES][p % LANES];
            const double *own = points + (i + p) * d;
            double *sum = sums + nearest * d;
            total += best[p / LANES][p % LANES];
            count[nearest] += 1;
            for (int64_t a = 0; a < d; a++) sum[a] += own[a];
        }
    }
    *value = total;
    for (int64_t c = 0; c < k; c++)
        for (int64_t a = 0; a < d; a++) g[c * d + a] = 2 * (count[c] * centres[c * d + a] - sums[c * d + a]);
    return 0;
}
