/* Fit the logistic model by Newton's method with conjugate gradients: no Python, one library.
 *
 *     fit breast_cancer.csv
 *
 * prints the loss, the iterations and the accuracy, then one coefficient a line. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "logistic.h"

static const double L2 = 1e-3;

typedef struct {
    int64_t n, d;
    double *X, *y;
} Data;

static void fail(const char *message) {
    fprintf(stderr, "fit: %s\n", message);
    exit(1);
}

static double *zeros(int64_t count) {
    double *memory = calloc((size_t)count, sizeof(double));
    if (memory == NULL) fail("out of memory");
    return memory;
}

static double dot(int64_t d, const double *a, const double *b) {
    double total = 0;
    for (int64_t i = 0; i < d; i++) total += a[i] * b[i];
    return total;
}

/* Standardised features after a column of ones; the last column of the file is the label. */
static Data load(const char *path) {
    FILE *file = fopen(path, "r");
    long n, features;
    if (file == NULL) fail("cannot open the data");
    if (fscanf(file, "%ld,%ld,%*[^\n]", &n, &features) != 2) fail("the first line is no header");
    Data data = {n, features + 1, zeros(n * (features + 1)), zeros(n)};
    for (int64_t i = 0; i < n; i++) {
        data.X[i * data.d] = 1;
        for (int64_t j = 1; j < data.d; j++)
            if (fscanf(file, "%lf,", &data.X[i * data.d + j]) != 1) fail("a number is missing");
        if (fscanf(file, "%lf", &data.y[i]) != 1) fail("a label is missing");
    }
    fclose(file);
    for (int64_t j = 1; j < data.d; j++) {
        double mean = 0, square = 0;
        for (int64_t i = 0; i < n; i++) mean += data.X[i * data.d + j] / (double)n;
        for (int64_t i = 0; i < n; i++) square += pow(data.X[i * data.d + j] - mean, 2) / (double)n;
        for (int64_t i = 0; i < n; i++)
            data.X[i * data.d + j] = (data.X[i * data.d + j] - mean) / sqrt(square);
    }
    return data;
}

static double value_and_gradient(const Data *data, const double *w, double *gradient) {
    double value;
    if (loss_grad(data->d, data->n, w, data->X, data->y, L2, &value, gradient, NULL) != 0)
        fail("loss_grad failed");
    return value;
}

/* Solve H step = -gradient by conjugate gradients, to a relative residual of 1e-10. */
static void newton_step(const Data *data, const double *w, const double *gradient, double *step) {
    int64_t d = data->d;
    double *residual = zeros(d), *direction = zeros(d), *image = zeros(d);
    for (int64_t i = 0; i < d; i++) {
        step[i] = 0;
        residual[i] = direction[i] = -gradient[i];
    }
    double rho = dot(d, residual, residual), stop = 1e-20 * rho;
    for (int64_t k = 0; k < 10 * d && rho > stop; k++) {
        if (loss_hvp(d, data->n, w, data->X, data->y, L2, direction, image, NULL) != 0)
            fail("loss_hvp failed");
        double alpha = rho / dot(d, direction, image), previous = rho;
        for (int64_t i = 0; i < d; i++) {
            step[i] += alpha * direction[i];
            residual[i] -= alpha * image[i];
        }
        rho = dot(d, residual, residual);
        for (int64_t i = 0; i < d; i++) direction[i] = residual[i] + rho / previous * direction[i];
    }
    free(residual);
    free(direction);
    free(image);
}

int main(int count, char **arguments) {
    if (count != 2) fail("usage: fit DATA.csv");
    Data data = load(arguments[1]);
    double *w = zeros(data.d), *gradient = zeros(data.d), *step = zeros(data.d);
    double *next = zeros(data.d), *unused = zeros(data.d), value = 0;
    int iteration = 0;
    for (; iteration < 100; iteration++) {
        value = value_and_gradient(&data, w, gradient);
        double norm = 0, scale = 1;
        for (int64_t i = 0; i < data.d; i++) norm = fmax(norm, fabs(gradient[i]));
        if (norm < 1e-12) break;
        newton_step(&data, w, gradient, step);
        double slope = dot(data.d, gradient, step);
        for (int k = 0; k < 30 && norm >= 1e-9; k++, scale /= 2) {
            for (int64_t i = 0; i < data.d; i++) next[i] = w[i] + scale * step[i];
            if (value_and_gradient(&data, next, unused) <= value + 0.1 * scale * slope) break;
        }
        for (int64_t i = 0; i < data.d; i++) w[i] += scale * step[i];
    }
    int64_t right = 0;
    for (int64_t i = 0; i < data.n; i++)
        right += (dot(data.d, &data.X[i * data.d], w) > 0) == (data.y[i] > 0);
    printf("loss %.15f after %d iterations, accuracy %.4f\n", value, iteration,
           (double)right / (double)data.n);
    for (int64_t i = 0; i < data.d; i++) printf("%.17g\n", w[i]);
    return 0;
}
