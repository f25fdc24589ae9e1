// Gaussian mixture (ADBench's objective): log likelihood with a Wishart prior, and its gradient.
//
// A lane is a point. With u = x_i - mu_k and y = Q_k u (Q_k lower triangular), the derivative needs
// only the weighted moments s_k = sum_i r_ik u and M_k = sum_i r_ik u u^T:
//     d/dQ_k = -Q_k M_k (lower triangle),   d/dmu_k = Q_k^T Q_k s_k,   d/dalpha_k = sum_i r_ik - n pi_k.
// So backward is as cheap as forward: d(d+1)/2 multiply-adds a point and component.
#include "peer.hpp"

constexpr int64_t VECTORS = 4; // points in a block: VECTORS * LANES
constexpr int64_t POINTS = VECTORS * LANES;

static int64_t vectors(int64_t count) { return (count + LANES - 1) / LANES * LANES; }

EXPORT int64_t workspace(const int64_t *sizes) {
    const int64_t d = sizes[1], k = sizes[2];
    const int64_t doubles = k * d * d + vectors(k) + d * POINTS * 2 + k * POINTS +
                            k * (d * (d + 1) / 2 + d + 1) * LANES + d * d;
    return doubles * 8 + 64;
}

struct Mixture {
    int64_t n, d, k;
    const double *Q;     // [k][d][d], lower triangles
    const double *means; // [k][d]
    double *moments;     // [k][d(d+1)/2 + d + 1][LANES]: M, s, sum of r
};

// The exponents -|Q u|^2 / 2 of one component for a block of points, x[d][POINTS].
template <int D>
static inline void exponents(const double *Q, const double *mean, const double *x, int64_t d_,
                             double *result) {
    const int64_t d = D ? D : d_;
    for (int64_t v = 0; v < POINTS; v += LANES) {
        vec u[D ? D : 256], total = {};
#pragma GCC unroll 32
        for (int64_t a = 0; a < d; a++) u[a] = load(x + a * POINTS + v) - mean[a];
#pragma GCC unroll 32
        for (int64_t a = 0; a < d; a++) {
            vec y = Q[a * d] * u[0];
#pragma GCC unroll 32
            for (int64_t b = 1; b <= a; b++) y += Q[a * d + b] * u[b];
            total += y * y;
        }
        store(result + v, -0.5 * total);
    }
}

// Add a block's weighted moments; two rows of M a time, so that a load of u serves twice.
template <int D>
static inline void add_moments(const double *r, const double *mean, const double *x, int64_t d_,
                               double *u, double *moments) {
    const int64_t d = D ? D : d_;
    double *first = moments + d * (d + 1) / 2 * LANES, *count = first + d * LANES;
    for (int64_t a = 0; a < d; a++) {
        vec sum = load(first + a * LANES);
        for (int64_t v = 0; v < POINTS; v += LANES) {
            const vec difference = load(x + a * POINTS + v) - mean[a];
            store(u + a * POINTS + v, difference);
            sum += load(r + v) * difference;
        }
        store(first + a * LANES, sum);
    }
    vec weights[VECTORS], sum = load(count);
    for (int64_t v = 0; v < VECTORS; v++) weights[v] = load(r + v * LANES), sum += weights[v];
    store(count, sum);
#pragma GCC unroll 16
    for (int64_t a = 0; a < d; a += 2) {
        const bool two = a + 1 < d;
        vec p[VECTORS], q[VECTORS];
        for (int64_t v = 0; v < VECTORS; v++) {
            p[v] = weights[v] * load(u + a * POINTS + v * LANES);
            q[v] = two ? weights[v] * load(u + (a + 1) * POINTS + v * LANES) : vec{};
        }
        double *row = moments + a * (a + 1) / 2 * LANES, *next = row + (a + 1) * LANES;
#pragma GCC unroll 32
        for (int64_t b = 0; b <= a; b++) {
            vec s = load(row + b * LANES), t = two ? load(next + b * LANES) : vec{};
#pragma GCC unroll 4
            for (int64_t v = 0; v < VECTORS; v++) {
                const vec e = load(u + b * POINTS + v * LANES);
                s += p[v] * e, t += q[v] * e;
            }
            store(row + b * LANES, s);
            if (two) store(next + b * LANES, t);
        }
        if (two) {
            vec t = load(next + (a + 1) * LANES);
            for (int64_t v = 0; v < VECTORS; v++) t += q[v] * load(u + (a + 1) * POINTS + v * LANES);
            store(next + (a + 1) * LANES, t);
        }
    }
}

// sum_i logsumexp_k(offset_k - |Q_k u|^2 / 2); the moments of its derivative.
template <int D>
static double all_points(const Mixture &m, const double *x, const double *offset, double *xt,
                         double *u, double *r) {
    const int64_t n = m.n, d = D ? D : m.d, k = m.k, stride = d * (d + 1) / 2 + d + 1;
    double total = 0;
    for (int64_t i = 0; i < n; i += POINTS) {
        const int64_t count = std::min(POINTS, n - i);
        if (count < POINTS) std::fill(xt, xt + d * POINTS, 0.0);
        for (int64_t p = 0; p < count; p++)
            for (int64_t a = 0; a < d; a++) xt[a * POINTS + p] = x[(i + p) * d + a];
        double top[POINTS], sum[POINTS] = {};
        std::fill(top, top + POINTS, -1e300);
        for (int64_t c = 0; c < k; c++) {
            double *e = r + c * POINTS;
            exponents<D>(m.Q + c * d * d, m.means + c * d, xt, d, e);
            for (int64_t p = 0; p < POINTS; p++) {
                e[p] += offset[c];
                top[p] = std::max(top[p], e[p]);
            }
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
            double *e = r + c * POINTS;
            for (int64_t p = 0; p < POINTS; p++) e[p] *= weight[p];
            add_moments<D>(e, m.means + c * d, xt, d, u, m.moments + c * stride * LANES);
        }
    }
    return total;
}

EXPORT int32_t gradient(const int64_t *sizes, Inputs in, Outputs out, void *work) {
    const int64_t n = sizes[0], d = sizes[1], k = sizes[2], low = d * (d - 1) / 2, tri = low + d;
    const double *alphas = input(in, 0), *means = input(in, 1), *icf = input(in, 2);
    const double *x = input(in, 3), gamma = *input(in, 4), extra = *input(in, 5);
    double *value = output(out, 0), *galpha = output(out, 1), *gmean = output(out, 2);
    double *gicf = output(out, 3);

    double *moments = static_cast<double *>(work);
    double *xt = moments + k * (tri + d + 1) * LANES, *u = xt + d * POINTS, *r = u + d * POINTS;
    double *offset = r + k * POINTS, *Q = offset + vectors(k);
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
    double total;
    switch (d) {
    case 2: total = all_points<2>(mixture, x, offset, xt, u, r); break;
    case 10: total = all_points<10>(mixture, x, offset, xt, u, r); break;
    case 32: total = all_points<32>(mixture, x, offset, xt, u, r); break;
    default: total = all_points<0>(mixture, x, offset, xt, u, r);
    }
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
