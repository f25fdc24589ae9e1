// Softmax regression: mean cross entropy of X W + b, labels as numbers; gradients by W and b.
// One pass over X: blocks of rows; scores of a row are a few vectors of classes in registers.
#include "peer.hpp"

constexpr int64_t ROWS = 8, MAX_CLASSES = 16;

EXPORT int64_t workspace(const int64_t *sizes) { return sizes[1] * MAX_CLASSES * 16 + 64; }

// Classes are padded to whole vectors: padded columns of W are zero.
EXPORT int32_t gradient(const int64_t *sizes, Inputs in, Outputs out, void *work) {
    const int64_t n = sizes[0], d = sizes[1], classes = sizes[2];
    const double *W = input(in, 0), *b = input(in, 1), *X = input(in, 2);
    const int64_t *label = input<int64_t>(in, 3);
    double *value = output(out, 0), *gW = output(out, 1), *gb = output(out, 2);
    double *padded = static_cast<double *>(work), *sums = padded + d * MAX_CLASSES;
    std::fill(padded, padded + 2 * d * MAX_CLASSES, 0.0);
    for (int64_t j = 0; j < d; j++) std::copy(W + j * classes, W + (j + 1) * classes, padded + j * MAX_CLASSES);
    double bias[MAX_CLASSES], loss = 0;
    std::fill(bias, bias + MAX_CLASSES, -1e300);
    std::copy(b, b + classes, bias);
    vec gbias[2] = {};
    for (int64_t i = 0; i < n; i += ROWS) {
        const int64_t rows = std::min(ROWS, n - i);
        const double *x[ROWS];
        for (int64_t q = 0; q < ROWS; q++) x[q] = X + (i + std::min(q, rows - 1)) * d;
        vec s[ROWS][2] = {};
        for (int64_t j = 0; j < d; j++) {
            const vec u = load(padded + j * MAX_CLASSES), v = load(padded + j * MAX_CLASSES + LANES);
#pragma GCC unroll 8
            for (int64_t q = 0; q < ROWS; q++) s[q][0] += u * x[q][j], s[q][1] += v * x[q][j];
        }
        alignas(64) double all[ROWS * MAX_CLASSES];
        auto p = reinterpret_cast<double(*)[MAX_CLASSES]>(all);
        double inverse[ROWS]; // first the sums
        for (int64_t q = 0; q < ROWS; q++) {
            store(p[q], s[q][0] + load(bias)), store(p[q] + LANES, s[q][1] + load(bias + LANES));
            double top = p[q][0];
            for (int64_t c = 0; c < MAX_CLASSES; c++) top = std::max(top, p[q][c]);
            loss += q < rows ? top - p[q][label[std::min(i + q, n - 1)]] : 0;
            for (int64_t c = 0; c < MAX_CLASSES; c++) p[q][c] = std::max(p[q][c] - top, -700.0);
        }
        for (int64_t e = 0; e < ROWS * MAX_CLASSES; e++) all[e] = std::exp(all[e]);
        for (int64_t q = 0; q < ROWS; q++) {
            double sum = 0;
            for (int64_t c = 0; c < MAX_CLASSES; c++) sum += c < classes ? p[q][c] : 0.0;
            inverse[q] = sum;
        }
        for (int64_t q = 0; q < ROWS; q++) {
            loss += q < rows ? std::log(inverse[q]) : 0;
            inverse[q] = q < rows ? 1 / inverse[q] : 0;
        }
        for (int64_t q = 0; q < rows; q++) {
            for (int64_t c = 0; c < MAX_CLASSES; c++) p[q][c] *= inverse[q];
            p[q][label[i + q]] -= 1;
        }
        for (int64_t q = rows; q < ROWS; q++) std::fill(p[q], p[q] + MAX_CLASSES, 0.0);
        for (int64_t q = 0; q < ROWS; q++)
            s[q][0] = load(p[q]), s[q][1] = load(p[q] + LANES), gbias[0] += s[q][0], gbias[1] += s[q][1];
        for (int64_t j = 0; j < d; j++) {
            vec u = load(sums + j * MAX_CLASSES), v = load(sums + j * MAX_CLASSES + LANES);
#pragma GCC unroll 8
            for (int64_t q = 0; q < ROWS; q++) u += s[q][0] * x[q][j], v += s[q][1] * x[q][j];
            store(sums + j * MAX_CLASSES, u), store(sums + j * MAX_CLASSES + LANES, v);
        }
    }
    *value = loss / double(n);
    for (int64_t c = 0; c < classes; c++) gb[c] = gbias[c / LANES][c % LANES] / double(n);
    for (int64_t j = 0; j < d; j++)
        for (int64_t c = 0; c < classes; c++) gW[j * classes + c] = sums[j * MAX_CLASSES + c] / double(n);
    return 0;
}
