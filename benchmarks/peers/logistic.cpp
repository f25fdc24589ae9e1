// Logistic regression: mean(softplus(X w) - y X w) and its gradient X^T (sigmoid(X w) - y) / n.
// One pass over X: a block of rows is read from memory once, row by row, which the machine fetches
// ahead, and used twice from the cache.
#include "peer.hpp"

constexpr int64_t ROWS = 8;

EXPORT int64_t workspace(const int64_t *) { return 0; }

// A row times w: one stream from memory, and sums side by side, so that no addition waits.
static inline double dot(const double *x, const double *w, int64_t d) {
    constexpr int SUMS = 4;
    vec sums[SUMS] = {};
    int64_t j = 0;
    for (; j + SUMS * LANES <= d; j += SUMS * LANES)
        for (int k = 0; k < SUMS; k++) sums[k] += load(x + j + k * LANES) * load(w + j + k * LANES);
    for (; j + LANES <= d; j += LANES) sums[0] += load(x + j) * load(w + j);
    double total = lane_sum((sums[0] + sums[1]) + (sums[2] + sums[3]));
    for (; j < d; j++) total += x[j] * w[j];
    return total;
}

static inline void add_four_rows(const double *__restrict X, int64_t d, const double *r,
                                 double *__restrict g) {
    double a = r[0], b = r[1], c = r[2], e = r[3];
    for (int64_t j = 0; j < d; j++)
        g[j] += (a * X[j] + b * X[d + j]) + (c * X[2 * d + j] + e * X[3 * d + j]);
}

EXPORT int32_t gradient(const int64_t *sizes, Inputs in, Outputs out, void *) {
    const int64_t n = sizes[0], d = sizes[1];
    const double *w = input(in, 0), *X = input(in, 1), *y = input(in, 2);
    double *value = output(out, 0), *g = output(out, 1);
    double loss = 0, z[ROWS], r[ROWS];
    std::fill(g, g + d, 0.0);
    for (int64_t i = 0; i < n; i += ROWS) {
        const int64_t rows = std::min(ROWS, n - i);
        const double *block = X + i * d;
        std::fill(z, z + ROWS, 0.0);
        for (int64_t k = 0; k < rows; k++) z[k] = dot(block + k * d, w, d);
        double label[ROWS] = {}, partial = 0;
        std::copy(y + i, y + i + rows, label);
        for (int64_t q = 0; q < ROWS; q++) {
            const double e = std::exp(-std::abs(z[q])), p = 1 / (1 + e);
            const double term = std::max(z[q], 0.0) + std::log1p(e) - label[q] * z[q];
            partial += q < rows ? term : 0.0;
            r[q] = (z[q] >= 0 ? p : e * p) - label[q];
        }
        loss += partial;
        int64_t k = 0;
        for (; k + 4 <= rows; k += 4) add_four_rows(block + k * d, d, r + k, g);
        for (; k < rows; k++)
            for (int64_t j = 0; j < d; j++) g[j] += r[k] * block[k * d + j];
    }
    *value = loss / double(n);
    for (int64_t j = 0; j < d; j++) g[j] /= double(n);
    return 0;
}
