/* Small functions with the generic C ABI, for tests of the call path without a compiler. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ARGUMENTS \
    const int64_t *sizes, const void *const *inputs, void *const *outputs, void *workspace

int64_t none(const int64_t *sizes) { return 0; }
int64_t doubles(const int64_t *sizes) { return 8 * sizes[0]; }
int64_t too_much(const int64_t *sizes) { return INT64_MAX; }
int64_t overflows(const int64_t *sizes) { return -1; }

/* (a: f64, x: f64, b: f64) -> f64 */
int32_t affine(ARGUMENTS)
{
    const double *a = inputs[0], *x = inputs[1], *b = inputs[2];
    *(double *)outputs[0] = *a * *x + *b;
    return 0;
}

/* (x: T[n]) -> T[n], for elements of 8, 4 and 1 bytes */
int32_t copy8(ARGUMENTS) { memcpy(outputs[0], inputs[0], 8 * sizes[0]); return 0; }
int32_t copy4(ARGUMENTS) { memcpy(outputs[0], inputs[0], 4 * sizes[0]); return 0; }
int32_t copy1(ARGUMENTS) { memcpy(outputs[0], inputs[0], sizes[0]); return 0; }

/* (x: T) -> T */
int32_t scalar8(ARGUMENTS) { memcpy(outputs[0], inputs[0], 8); return 0; }
int32_t scalar4(ARGUMENTS) { memcpy(outputs[0], inputs[0], 4); return 0; }
int32_t scalar1(ARGUMENTS) { memcpy(outputs[0], inputs[0], 1); return 0; }

/* (x: f64[n]) -> f64[n]: reversed, through the workspace; wrong if input and output overlap */
int32_t reversed(ARGUMENTS)
{
    const int64_t n = sizes[0];
    const double *x = inputs[0];
    double *result = outputs[0], *scratch = workspace;
    if ((uintptr_t)workspace % 64 != 0 || (n > 0 && workspace == NULL))
        return 77;
    for (int64_t i = 0; i < n; i++)
        scratch[i] = x[n - 1 - i];
    for (int64_t i = 0; i < n; i++)
        result[i] = 0.0;
    for (int64_t i = 0; i < n; i++)
        result[i] += scratch[i] + 0 * x[i];
    return 0;
}

/* (w: f64[d], X: f64[n, d]) -> (f64[n], f64): the product and its sum; sizes d, n */
int32_t matvec(ARGUMENTS)
{
    const double *w = inputs[0], *x = inputs[1];
    double *product = outputs[0], total = 0;
    for (int64_t i = 0; i < sizes[1]; i++) {
        product[i] = 0;
        for (int64_t j = 0; j < sizes[0]; j++)
            product[i] += w[j] * x[i * sizes[0] + j];
        total += product[i];
    }
    *(double *)outputs[1] = total;
    return 0;
}

/* (...) -> i64[s]: the sizes as the call bound them; the output's length is their number */
int32_t sizes_of(ARGUMENTS) { memcpy(outputs[0], sizes, 8); return 0; }
int32_t two_sizes_of(ARGUMENTS) { memcpy(outputs[0], sizes, 16); return 0; }

/* (x: f64[n]) -> f64[n]: x + 1, element by element, after all outputs were set to 0 */
int32_t increment(ARGUMENTS)
{
    memset(outputs[0], 0, 8 * sizes[0]);
    for (int64_t i = 0; i < sizes[0]; i++)
        ((double *)outputs[0])[i] = ((const double *)inputs[0])[i] + 1;
    return 0;
}

/* (x: f64[n]) -> (f64[n], f64[n]) */
int32_t twice(ARGUMENTS)
{
    memcpy(outputs[0], inputs[0], 8 * sizes[0]);
    memcpy(outputs[1], inputs[0], 8 * sizes[0]);
    return 0;
}

/* (status: i64) -> f64 */
int32_t status(ARGUMENTS)
{
    *(double *)outputs[0] = 0;
    return (int32_t)*(const int64_t *)inputs[0];
}

/* (milliseconds: i64) -> f64: sleeps */
int32_t pause_ms(ARGUMENTS)
{
    const int64_t wanted = *(const int64_t *)inputs[0];
    const struct timespec time = {wanted / 1000, wanted % 1000 * 1000000};
    *(double *)outputs[0] = nanosleep(&time, NULL);
    return 0;
}

/* (x: f64[n]) -> f64[n]: writes a pattern into the workspace, and reads it after a while */
int32_t patient(ARGUMENTS)
{
    volatile double *scratch = workspace;
    const double *x = inputs[0];
    const int64_t n = sizes[0];
    for (int round = 0; round < 20; round++) {
        for (int64_t i = 0; i < n; i++)
            scratch[i] = x[i] + round;
        for (int64_t i = 0; i < n; i++)
            if (scratch[i] != x[i] + round)
                return 78;
    }
    for (int64_t i = 0; i < n; i++)
        ((double *)outputs[0])[i] = scratch[i] - 19;
    return 0;
}
