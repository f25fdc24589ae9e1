/* What the machine cannot do faster: kernels of nothing but memory traffic, or arithmetic.
 *
 * sizes: how many inputs, outputs, passes over the inputs, multiply-adds of 8 doubles; then the
 * numbers of doubles of each input and output. The calling convention is that of the peers. */
#include <stdint.h>
#include <string.h>
#ifdef __AVX512F__
#include <immintrin.h>
#endif

typedef double vec __attribute__((vector_size(64)));
typedef double vec_unaligned __attribute__((vector_size(64), aligned(8)));
enum { LANES = 8, CHAINS = 12 };

static void store_streaming(double *y, double value) {
#ifdef __AVX512F__
    _mm512_stream_pd(y, _mm512_set1_pd(value));
#else
    *(vec *)y = (vec){0} + value;
#endif
}

static vec load(const double *x) { return *(const vec_unaligned *)x; }

/* The sum of an array: eight sums side by side, so that no addition waits for another. */
static double sum(const double *x, int64_t n) {
    vec sums[8] = {{0}};
    int64_t i = 0;
    for (; i + 8 * LANES <= n; i += 8 * LANES)
        for (int k = 0; k < 8; k++) sums[k] += load(x + i + k * LANES);
    double total = 0;
    for (int k = 0; k < 8; k++)
        for (int j = 0; j < LANES; j++) total += sums[k][j];
    for (; i < n; i++) total += x[i];
    return total;
}

static double read_all(const int64_t *sizes, const void *const *inputs) {
    double total = 0;
    for (int64_t pass = 0; pass < sizes[2]; pass++)
        for (int64_t i = 0; i < sizes[0]; i++) total += sum(inputs[i], sizes[4 + i]);
    return total;
}

/* Read all inputs, write all outputs. */
int32_t memory(const int64_t *sizes, const void *const *inputs, void *const *outputs, void *work) {
    const double total = read_all(sizes, inputs);
    memcpy(work, &total, sizeof total);
    for (int64_t j = 0; j < sizes[1]; j++) {
        double *y = outputs[j];
        const int64_t n = sizes[4 + sizes[0] + j];
        int64_t i = 0;
        for (; i + LANES <= n; i += LANES) *(vec_unaligned *)(y + i) = (vec){0} + total;
        for (; i < n; i++) y[i] = total;
    }
    return 0;
}

/* The same with stores that do not read the cache line first. */
int32_t memory_streaming(const int64_t *sizes, const void *const *inputs, void *const *outputs,
                         void *work) {
    const double total = read_all(sizes, inputs);
    memcpy(work, &total, sizeof total);
    for (int64_t j = 0; j < sizes[1]; j++) {
        double *y = outputs[j];
        const int64_t n = sizes[4 + sizes[0] + j];
        int64_t i = 0;
        for (; i < n && (uintptr_t)(y + i) % sizeof(vec); i++) y[i] = total;
        for (; i + LANES <= n; i += LANES)
            store_streaming(y + i, total);
        for (; i < n; i++) y[i] = total;
    }
    return 0;
}

/* So many multiply-adds of eight doubles, none waiting for the one before it. */
int32_t arithmetic(const int64_t *sizes, const void *const *inputs, void *const *outputs,
                   void *work) {
    (void)inputs, (void)outputs;
    vec sums[CHAINS];
    for (int k = 0; k < CHAINS; k++) sums[k] = (vec){0} + (double)k;
    vec factor = (vec){0} + 0.999999, term = (vec){0} + 0.5;
    __asm__ volatile("" : "+v"(factor), "+v"(term)); /* unknown: products cannot be rearranged */
    for (int64_t i = 0; i < sizes[3]; i += CHAINS)
#pragma GCC unroll 12
        for (int k = 0; k < CHAINS; k++) sums[k] = sums[k] * factor + term;
    vec total = sums[0];
    for (int k = 1; k < CHAINS; k++) total += sums[k];
    memcpy(work, &total, sizeof total);
    return 0;
}
