// Gaussian mixture (ADBench's objective): log likelihood with a Wishart prior, and its gradient.
//
// A lane is a point. With u = x_i - mu_k and y = Q_k u (Q_k lower triangular), the derivative needs
// only the weighted moments s_k = sum_i r_ik u and M_k = sum_i r_ik u u^T:
//     d/dQ_k = -Q_k M_k (lower triangle),   d/dmu_k = Q_k^T Q_k s_k,   d/dalpha_k = sum_i r_ik - n pi_k.
// So backward is as cheap as forward: d(d+1)/2 multiply-adds a point and component.
// Both products take ROWS rows of a triangle at once, and columns such that eight sums or more stay in
// registers: loads of vectors serve several of them.
#include "peer.hpp"

constexpr int64_t POINTS = 32, VECTORS = POINTS / LANES, ROWS = 4; // points in a block

static int64_t padded(int64_t count) { return (count + LANES - 1) / LANES * LANES; }
static int64_t triangle(int64_t rows) { return rows * (rows + 1) / 2; }

EXPORT int64_t workspace(const int64_t *sizes) {
    const int64_t d = sizes[1], k = sizes[2];
    const int64_t doubles = k * d * d + padded(k) + d * POINTS * 3 + k * POINTS +
                            k * (triangle(d) + d + 1) * LANES + d * d;
    return doubles * 8 + 64;
}

struct Mixture {
    int64_t n, d, k;
    const double *Q;     // [k][d][d], lower triangles
    const double *means; // [k][d]
    double *moments;     // [k][d(d+1)/2 + d + 1][LANES]: M, s, sum of r
};

// Add the squares of R rows of Q u from row a on, of two vectors of points.
template <int R>
static inline void add_squares(const double *Q, const double *u, int64_t d, int64_t a, vec total[2]) {
    vec y[R][2] = {};
    for (int64_t b = 0; b < a; b++) {
        const vec p = in_register(load(u + b * POINTS)), q = in_register(load(u + b * POINTS + LANES));
#pragma GCC unroll 4
        for (int i = 0; i < R; i++) y[i][0] += Q[i * d + b] * p, y[i][1] += Q[i * d + b] * q;
    }
#pragma GCC unroll 4
    for (int c = 0; c < R; c++) {
        const double *at = u + (a + c) * POINTS;
        for (int i = c; i < R; i++)
            y[i][0] += Q[i * d + a + c] * load(at), y[i][1] += Q[i * d + a + c] * load(at + LANES);
    }
    for (int i = 0; i < R; i++) total[0] += y[i][0] * y[i][0], total[1] += y[i][1] * y[i][1];
}

// The exponents offset - |Q u|^2 / 2 of one component for a block of points, and the largest so far;
// u[d][POINTS].
[[gnu::always_inline]] static inline void exponents(const double *Q, double offset, const double *u,
                                                    int64_t d, double *result, double *top) {
    for (int64_t v = 0; v < POINTS; v += 2 * LANES) {
        vec total[2] = {};
        int64_t a = 0;
        for (; a + ROWS <= d; a += ROWS) add_squares<ROWS>(Q + a * d, u + v, d, a, total);
        if (d - a == 3) add_squares<3>(Q + a * d, u + v, d, a, total);
        if (d - a == 2) add_squares<2>(Q + a * d, u + v, d, a, total);
        if (d - a == 1) add_squares<1>(Q + a * d, u + v, d, a, total);
        for (int i = 0; i < 2; i++) {
            const vec e = offset - 0.5 * total[i], high = load(top + v + i * LANES);
            store(result + v + i * LANES, e);
            store(top + v + i * LANES, e > high ? e : high);
        }
    }
}

// Add sum_i p_a u_b to R rows of M from row a on, p = r u.
template <int R>
static inline void add_products(const double *p, const double *u, int64_t a, double *M) {
    constexpr int C = R > 2 ? 2 : 4;
    auto at = [=](int64_t i, int64_t b) { return M + (triangle(a + i) + b) * LANES; };
    p += a * POINTS;
    for (int64_t b = 0; b < a; b += C) {
        vec sum[R][C];
        for (int i = 0; i < R; i++)
            for (int c = 0; c < C; c++) sum[i][c] = load(at(i, b + c));
        for (int64_t v = 0; v < POINTS; v += LANES) {
            vec e[C];
            for (int c = 0; c < C; c++) e[c] = in_register(load(u + (b + c) * POINTS + v));
#pragma GCC unroll 4
            for (int i = 0; i < R; i++)
#pragma GCC unroll 4
                for (int c = 0; c < C; c++) sum[i][c] += load(p + i * POINTS + v) * e[c];
        }
        for (int i = 0; i < R; i++)
            for (int c = 0; c < C; c++) store(at(i, b + c), sum[i][c]);
    }
    vec corner[R][R];
#pragma GCC unroll 4
    for (int i = 0; i < R; i++)
#pragma GCC unroll 4
        for (int c = 0; c <= i; c++) corner[i][c] = load(at(i, a + c));
    for (int64_t v = 0; v < POINTS; v += LANES)
#pragma GCC unroll 4
        for (int i = 0; i < R; i++)
#pragma GCC unroll 4
            for (int c = 0; c <= i; c++)
                corner[i][c] += load(p + i * POINTS + v) * load(u + (a + c) * POINTS + v);
#pragma GCC unroll 4
    for (int i = 0; i < R; i++)
#pragma GCC unroll 4
        for (int c = 0; c <= i; c++) store(at(i, a + c), corner[i][c]);
}

// Add a block's moments, weighted by r * weight; p[d][POINTS] is room for weighted u.
[[gnu::always_inline]] static inline void add_moments(const double *r, const double *weight,
                                                      const double *u, int64_t d, double *p,
                                                      double *moments) {
    double *first = moments + triangle(d) * LANES, *count = first + d * LANES;
    vec weights[VECTORS], sum = load(count);
    for (int64_t v = 0; v < VECTORS; v++) {
        weights[v] = load(r + v * LANES) * load(weight + v * LANES);
        sum += weights[v];
    }
    store(count, sum);
    for (int64_t a = 0; a < d; a++) {
        sum = load(first + a * LANES);
        for (int64_t v = 0; v < VECTORS; v++) {
            const vec product = weights[v] * load(u + a * POINTS + v * LANES);
            store(p + a * POINTS + v * LANES, product);
            sum += product;
        }
        store(first + a * LANES, sum);
    }
    int64_t a = 0;
    for (; a + ROWS <= d; a += ROWS) add_products<ROWS>(p, u, a, moments);
    if (d - a == 3) add_products<3>(p, u, a, moments);
    if (d - a == 2) add_products<2>(p, u, a, moments);
    if (d - a == 1) add_products<1>(p, u, a, moments);
}

[[gnu::always_inline]] static inline void differences(const double *x, const double *mean, int64_t d,
                                                      double *u) {
    for (int64_t a = 0; a < d; a++)
        for (int64_t p = 0; p < POINTS; p++) u[a * POINTS + p] = x[a * POINTS + p] - mean[a];
}

// sum_i logsumexp_k(offset_k - |Q_k u|^2 / 2); the moments of its derivative. xt, u, p: [d][POINTS].
// D is d where it is known, or 0.
template <int D>
static double all_points(const Mixture &m, const double *x, const double *offset, double *xt,
                         double *r) {
    const int64_t n = m.n, d = D ? D : m.d, k = m.k, stride = triangle(d) + d + 1;
    double total = 0, *u = xt + d * POINTS, *products = u + d * POINTS;
    for (int64_t i = 0; i < n; i += POINTS) {
        const int64_t count = std::min(POINTS, n - i);
        if (count < POINTS) std::fill(xt, xt + d * POINTS, 0.0);
        for (int64_t p = 0; p < count; p++)
            for (int64_t a = 0; a < d; a++) xt[a * POINTS + p] = x[(i + p) * d + a];
        double top[POINTS], sum[POINTS] = {};
        std::fill(top, top + POINTS, -1e300);
        for (int64_t c = 0; c < k; c++) {
            differences(xt, m.means + c * d, d, u);
            exponents(m.Q + c * d * d, offset[c], u, d, r + c * POINTS, top);
        }
        for (int64_t c = 0; c < k; c++)
            for (int64_t p = 0; p < POINTS; p++) {
                r[c * POINTS + p] = std::exp(r[c * POINTS + p] - top[p]);
                sum[p] += r[c * POINTS + p];
            }
        double weight[POINTS], logs[POINTS];
        for (int64_t p = 0; p < POINTS; p++) {
            logs[p] = top[p] + std::log(sum[p]);
            weight[p] = p < count ? 1 / sum[p] : 0;
        }
        for (int64_t p = 0; p < POINTS; p++) total += p < count ? logs[p] : 0;
        for (int64_t c = 0; c < k; c++) {
            differences(xt, m.means + c * d, d, u);
            add_moments(r + c * POINTS, weight, u, d, products, m.moments + c * stride * LANES);
        }
    }
    return total;
}

EXPORT int32_t gradient(const int64_t *sizes, Inputs in, Outputs out, void *work) {
    const int64_t n = sizes[0], d = sizes[1], k = sizes[2], tri = triangle(d);
    const double *alphas = input(in, 0), *means = input(in, 1), *icf = input(in, 2);
    const double *x = input(in, 3), gamma = *input(in, 4), extra = *input(in, 5);
    double *value = output(out, 0), *galpha = output(out, 1), *gmean = output(out, 2);
    double *gicf = output(out, 3);

    double *moments = static_cast<double *>(work);
    double *xt = moments + k * (tri + d + 1) * LANES, *r = xt + 3 * d * POINTS;
    double *offset = r + k * POINTS, *Q = offset + padded(k);
    std::fill(moments, xt, 0.0);
    double prior = 0, logs = 0, top = *std::max_element(alphas, alphas + k), sum = 0;
    for (int64_t c = 0; c < k; c++) sum += std::exp(alphas[c] - top);
    const double normaliser = top + std::log(sum);
    for (int64_t c = 0; c < k; c++) {
        const double *p = icf + c * tri;
        double trace = 0, squares = 0;
        for (int64_t a = 0, at = d; a < d; a++) {
            trace += p[a];
            Q[(c * d + a) * d + a] = std::exp(p[a]);
            squares += Q[(c * d + a) * d + a] * Q[(c * d + a) * d + a];
            for (int64_t b = 0; b < a; b++, at++) {
                Q[(c * d + a) * d + b] = p[at];
                squares += p[at] * p[at];
            }
        }
        offset[c] = alphas[c] + trace;
        prior += 0.5 * gamma * gamma * squares;
        logs += extra * trace;
    }
    const Mixture mixture = {n, d, k, Q, means, moments};
    const double total = d == 2 ? all_points<2>(mixture, x, offset, xt, r)
                                : all_points<0>(mixture, x, offset, xt, r);
    const double constant = -0.5 * double(n * d) * std::log(2 * M_PI);
    *value = constant + total - double(n) * normaliser + prior - logs;

    double *M = Q + k * d * d; // [d][d]
    for (int64_t c = 0; c < k; c++) {
        const double *m = moments + c * (tri + d + 1) * LANES, *q = Q + c * d * d;
        double first[256], y[256];
        for (int64_t a = 0, at = 0; a < d; a++)
            for (int64_t b = 0; b <= a; b++, at++)
                M[a * d + b] = M[b * d + a] = lane_sum(load(m + at * LANES));
        for (int64_t a = 0; a < d; a++) first[a] = lane_sum(load(m + (tri + a) * LANES));
        const double count = lane_sum(load(m + (tri + d) * LANES));
        galpha[c] = count - double(n) * std::exp(alphas[c] - normaliser);
        for (int64_t a = 0; a < d; a++) {
            y[a] = 0, gmean[c * d + a] = 0;
            for (int64_t b = 0; b <= a; b++) y[a] += q[a * d + b] * first[b];
        }
        for (int64_t a = 0; a < d; a++)
            for (int64_t b = 0; b <= a; b++) gmean[c * d + b] += q[a * d + b] * y[a];
        double row[256];
        for (int64_t a = 0, at = d; a < d; a++) {
            std::fill(row, row + a + 1, 0.0);
            for (int64_t b = 0; b <= a; b++)
                for (int64_t e = 0; e <= a; e++) row[e] -= q[a * d + b] * M[b * d + e];
            for (int64_t b = 0; b < a; b++, at++)
                gicf[c * tri + at] = row[b] + gamma * gamma * q[a * d + b];
            const double diagonal = q[a * d + a];
            gicf[c * tri + a] = (row[a] + gamma * gamma * diagonal) * diagonal + count - extra;
        }
    }
    return 0;
}
