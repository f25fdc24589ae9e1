// Logistic regression: mean(softplus(X w) - y X w) and its gradient X^T (sigmoid(X w) - y) / n.
// One pass over X: a block of rows is read from memory once and used twice from the cache. While a
// block is read, the next one is fetched: the machine does not guess it behind 32 short rows.
#include "peer.hpp"

constexpr int64_t ROWS = 32;

EXPORT int64_t workspace(const int64_t *) { return 0; }

// z[0:4] = four rows of X times w
static inline void four_dots(const double *X, int64_t d, const double *w, double *z) {
    double a = 0, b = 0, c = 0, e = 0;
    for (int64_t j = 0; j < 4 * d; j += 8) __builtin_prefetch(X + ROWS * d + j);
    for (int64_t j = 0; j < d; j++) {
        a += X[j] * w[j];
        b += X[d + j] * w[j];
        c += X[2 * d + j] * w[j];
        e += X[3 * d + j] * w[j];
    }
    z[0] = a, z[1] = b, z[2] = c, z[3] = e;
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
        int64_t k = 0;
        for (; k + 4 <= rows; k += 4) four_dots(block + k * d, d, w, z + k);
        for (; k < rows; k++)
            for (int64_t j = 0; j < d; j++) z[k] += block[k * d + j] * w[j];
        double label[ROWS] = {}, partial = 0;
        std::copy(y + i, y + i + rows, label);
        for (int64_t q = 0; q < ROWS; q++) {
            const double e = std::exp(-std::abs(z[q])), p = 1 / (1 + e);
            const double term = std::max(z[q], 0.0) + std::log1p(e) - label[q] * z[q];
            partial += q < rows ? term : 0.0;
            r[q] = (z[q] >= 0 ? p : e * p) - label[q];
        }
        loss += partial;
        for (k = 0; k + 4 <= rows; k += 4) add_four_rows(block + k * d, d, r + k, g);
        for (; k < rows; k++)
            for (int64_t j = 0; j < d; j++) g[j] += r[k] * block[k * d + j];
    }
    *value = loss / double(n);
    for (int64_t j = 0; j < d; j++) g[j] /= double(n);
    return 0;
}
