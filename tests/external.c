/* External functions that the tests compile: smooth ones with simple derivatives. */
#include <math.h>
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

/* the entries below the mean and the others, in order, zeros behind; how many are below; the mean */
void halves(int64_t n, const double *x, double *low, float *high, int64_t *count, double *mean)
{
    double total = 0.0;
    int64_t i, below = 0, above = 0;
    for (i = 0; i < n; i++) {
        total += x[i];
        low[i] = 0.0;
        high[i] = 0.0f;
    }
    *mean = n > 0 ? total / (double)n : 0.0;
    for (i = 0; i < n; i++) {
        if (x[i] < *mean) {
            low[below++] = x[i];
        } else {
            high[above++] = (float)x[i];
        }
    }
    *count = below;
}

/* the sine and the cosine of each entry: status 1 for what is infinite */
int32_t turn(int64_t n, const double *x, double *sine, double *cosine)
{
    for (int64_t i = 0; i < n; i++) {
        if (x[i] - x[i] != 0.0) {
            return 1;
        }
        sine[i] = sin(x[i]);
        cosine[i] = cos(x[i]);
    }
    return 0;
}

double dot(int64_t n, const double *x, const double *y)
{
    double total = 0.0;
    for (int64_t i = 0; i < n; i++) {
        total += x[i] * y[i];
    }
    return total;
}

/* whether an entry is above the bound; always where `on` is set */
uint8_t any_above(int64_t n, const double *x, double bound, uint8_t on)
{
    int64_t i;
    for (i = 0; i < n; i++) {
        if (x[i] > bound) {
            return 1;
        }
    }
    return on;
}

int32_t negated(int32_t k, uint8_t on) { return on ? -k : k; }
