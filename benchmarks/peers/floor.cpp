// What the machine cannot do faster: kernels of nothing but memory traffic, or arithmetic.
//
// sizes: how many inputs, outputs, passes over the inputs, multiply-adds of doubles; then the numbers
// of doubles of each input and output. The calling convention is that of the peers.
#include "peer.hpp"

constexpr int CHAINS = 12; // additions and multiply-adds side by side: none waits for another

static double sum(const double *x, int64_t n) {
    vec sums[CHAINS] = {};
    int64_t i = 0;
    for (; i + CHAINS * LANES <= n; i += CHAINS * LANES)
        for (int k = 0; k < CHAINS; k++) sums[k] += load(x + i + k * LANES);
    double total = 0;
    for (vec part : sums) total += lane_sum(part);
    for (; i < n; i++) total += x[i];
    return total;
}

static double read_all(const int64_t *sizes, Inputs in) {
    double total = 0;
    for (int64_t pass = 0; pass < sizes[2]; pass++)
        for (int64_t i = 0; i < sizes[0]; i++) total += sum(input(in, i), sizes[4 + i]);
    return total;
}

// Read all inputs, write all outputs.
EXPORT int32_t memory(const int64_t *sizes, Inputs in, Outputs out, void *) {
    const double total = read_all(sizes, in);
    for (int64_t j = 0; j < sizes[1]; j++) {
        double *y = output(out, j);
        std::fill(y, y + sizes[4 + sizes[0] + j], total);
    }
    return 0;
}

// The same with stores that do not read the cache's line first.
EXPORT int32_t memory_streaming(const int64_t *sizes, Inputs in, Outputs out, void *) {
    const double total = read_all(sizes, in);
    for (int64_t j = 0; j < sizes[1]; j++) {
        double *y = output(out, j);
        const int64_t n = sizes[4 + sizes[0] + j];
        int64_t i = 0;
        for (; i < n && !is_aligned(y + i); i++) y[i] = total;
        for (; i + LANES <= n; i += LANES) stream(y + i, vec{} + total);
        for (; i < n; i++) y[i] = total;
    }
    _mm_sfence();
    return 0;
}

// So many multiply-adds.
EXPORT int32_t arithmetic(const int64_t *sizes, Inputs, Outputs, void *work) {
    vec sums[CHAINS];
    for (int k = 0; k < CHAINS; k++) sums[k] = vec{} + double(k);
    vec factor = vec{} + 0.999999, term = vec{} + 0.5;
    asm volatile("" : "+v"(factor), "+v"(term)); // unknown: products cannot be rearranged
    for (int64_t i = 0; i < sizes[3]; i += CHAINS * LANES)
#pragma GCC unroll CHAINS
        for (int k = 0; k < CHAINS; k++) sums[k] = sums[k] * factor + term;
    vec total = sums[0];
    for (int k = 1; k < CHAINS; k++) total += sums[k];
    std::memcpy(work, &total, sizeof total);
    return 0;
}
