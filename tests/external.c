/* External functions that the tests compile: smooth ones with simple derivatives. */
#include <stdint.h>

double cubic(double x) { return x * x * x; }
double cubic_slope(double x) { return 3.0 * x * x; }
float cubic32(float x) { return x * x * x; }
double weighted(double x, double y) { return x * y + y; }

/* out[i] = scale * sum of x[0..i] */
void running(int64_t n, const double *x, double scale, double *out)
{
    double total = 0.0;
    for (int64_t i = 0; i < n; i++) {
        total += x[i];
        out[i] = scale * total;
    }
}

/* out = the first entry, where there is one; status 1 otherwise */
int32_t head(int64_t n, const double *x, double *out)
{
    if (n == 0) {
        return 1;
    }
    *out = x[0];
    return 0;
}

/* out[i, j] = x[i] if on[j], else k */
void choose(int64_t n, int64_t m, const float *x, const uint8_t *on, int32_t k, float *out)
{
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j < m; j++) {
            out[i * m + j] = on[j] ? x[i] : (float)k;
        }
    }
}
