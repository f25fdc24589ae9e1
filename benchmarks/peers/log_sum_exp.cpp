// Log-sum-exp and its gradient, the softmax, with one exponential an entry. First pass, by blocks that
// stay in the first cache: the maximum so far, exp(x - maximum) to the result, its sum. Second pass:
// each block times exp(its maximum - value).
#include "peer.hpp"

constexpr int64_t BLOCK = 1024;

static int64_t blocks(int64_t n) { return (n + BLOCK - 1) / BLOCK; }

EXPORT int64_t workspace(const int64_t *sizes) { return blocks(sizes[0]) * 8; }

EXPORT int32_t gradient(const int64_t *sizes, Inputs in, Outputs out, void *work) {
    const int64_t n = sizes[0];
    const double *__restrict x = input(in, 0);
    double *__restrict g = output(out, 1), *tops = static_cast<double *>(work);
    double top = -1e300, sum = 0;
    for (int64_t b = 0; b < blocks(n); b++) {
        const int64_t start = b * BLOCK, end = std::min(start + BLOCK, n);
        double high = top, part = 0;
        for (int64_t i = start; i < end; i++) high = std::max(high, x[i]);
        for (int64_t i = start; i < end; i++) {
            g[i] = std::exp(x[i] - high);
            part += g[i];
        }
        sum = sum * std::exp(top - high) + part;
        top = tops[b] = high;
    }
    const double value = top + std::log(sum);
    for (int64_t b = 0; b < blocks(n); b++) {
        const double scale = std::exp(tops[b] - value);
        for (int64_t i = b * BLOCK; i < std::min((b + 1) * BLOCK, n); i++) g[i] *= scale;
    }
    *output(out, 0) = value;
    return 0;
}
