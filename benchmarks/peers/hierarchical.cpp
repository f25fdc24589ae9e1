// Hierarchical regression: a group's intercept and slope stand side by side, and so do their
// gradients, so that an observation costs one load, and one addition in place, of a pair.
// Two tables of sums take turns: neighbours of one group do not wait for each other.
#include "peer.hpp"

typedef double pair __attribute__((vector_size(16)));

EXPORT int64_t workspace(const int64_t *sizes) { return 3 * sizes[1] * int64_t(sizeof(pair)); }

EXPORT int32_t gradient(const int64_t *sizes, Inputs in, Outputs out, void *work) {
    const int64_t n = sizes[0], groups = sizes[1];
    const double *top = input(in, 0), *za = input(in, 1), *zb = input(in, 2);
    const double *x = input(in, 3), *y = input(in, 4);
    const int64_t *group = input<int64_t>(in, 5);
    double *value = output(out, 0), *g = output(out, 1), *ga = output(out, 2), *gb = output(out, 3);
    const double mu_a = top[0], mu_b = top[1], sa = std::exp(top[2]), sb = std::exp(top[3]);
    const double precision = std::exp(-2 * top[4]);
    pair *line = static_cast<pair *>(work), *even = line + groups, *odd = even + groups;

    double prior = 0;
    for (int64_t j = 0; j < groups; j++) {
        line[j] = pair{mu_a + sa * za[j], mu_b + sb * zb[j]};
        even[j] = odd[j] = pair{0, 0};
        prior += za[j] * za[j] + zb[j] * zb[j];
    }
    double squares[2] = {};
    auto observe = [&](int64_t i, pair *sums, double &square) {
        const pair p = line[group[i]];
        const double r = y[i] - p[0] - p[1] * x[i];
        square += r * r;
        sums[group[i]] += pair{r, r * x[i]};
    };
    int64_t i = 0;
    for (; i + 2 <= n; i += 2) observe(i, even, squares[0]), observe(i + 1, odd, squares[1]);
    if (i < n) observe(i, even, squares[0]);

    double sum_a = 0, sum_b = 0, along_a = 0, along_b = 0;
    for (int64_t j = 0; j < groups; j++) {
        const double a = precision * (even[j][0] + odd[j][0]);
        const double b = precision * (even[j][1] + odd[j][1]);
        sum_a += a, sum_b += b, along_a += a * za[j], along_b += b * zb[j];
        ga[j] = sa * a - za[j], gb[j] = sb * b - zb[j];
    }
    const double square = precision * (squares[0] + squares[1]);
    double hyper = 0;
    for (int q = 0; q < 5; q++) hyper += top[q] * top[q];
    *value = -0.5 * (square + prior + hyper) - double(n) * top[4];
    g[0] = sum_a - top[0], g[1] = sum_b - top[1];
    g[2] = sa * along_a - top[2], g[3] = sb * along_b - top[3];
    g[4] = square - double(n) - top[4];
    return 0;
}
