// Softmax regression: mean cross entropy of X W + b, labels as numbers; gradients by W and b.
// One pass over X: blocks of rows; scores of a row are a few vectors of classes in registers. While a
// block is read, the next one is fetched: the machine does not guess it behind short rows.
#include "peer.hpp"

constexpr int64_t MAX_CLASSES = 16;

EXPORT int64_t workspace(const int64_t *sizes) { return sizes[1] * MAX_CLASSES * 16 + 64; }

// Classes are padded to whole vectors: padded columns of W are zero.
template <int VECTORS> static void run(const int64_t *sizes, Inputs in, Outputs out, double *work) {
    constexpr int64_t ROWS = TILE_ROWS, WIDTH = VECTORS * LANES;
    const int64_t n = sizes[0], d = sizes[1], classes = sizes[2];
    const double *W = input(in, 0), *b = input(in, 1), *X = input(in, 2);
    const int64_t *label = input<int64_t>(in, 3);
    double *value = output(out, 0), *gW = output(out, 1), *gb = output(out, 2);
    double *padded = work, *sums = padded + d * WIDTH;
    std::fill(padded, padded + 2 * d * WIDTH, 0.0);
    for (int64_t j = 0; j < d; j++) std::copy(W + j * classes, W + (j + 1) * classes, padded + j * WIDTH);
    double bias[WIDTH], loss = 0;
    std::fill(bias, bias + WIDTH, -1e300);
    std::copy(b, b + classes, bias);
    vec gbias[VECTORS] = {};
    for (int64_t i = 0; i < n; i += ROWS) {
        const int64_t rows = std::min(ROWS, n - i);
        const double *x[ROWS];
        for (int64_t q = 0; q < ROWS; q++) x[q] = X + (i + std::min(q, rows - 1)) * d;
        for (int64_t j = 0; j < ROWS * d; j += 8) __builtin_prefetch(x[0] + ROWS * d + j);
        vec s[ROWS][VECTORS] = {};
        for (int64_t j = 0; j < d; j++) {
            vec w[VECTORS];
            for (int v = 0; v < VECTORS; v++) w[v] = in_register(load(padded + j * WIDTH + v * LANES));
#pragma GCC unroll 8
            for (int64_t q = 0; q < ROWS; q++)
#pragma GCC unroll 8
                for (int v = 0; v < VECTORS; v++) s[q][v] += w[v] * x[q][j];
        }
        alignas(64) double all[ROWS * WIDTH];
        auto p = reinterpret_cast<double(*)[WIDTH]>(all);
        double inverse[ROWS]; // first the sums
        for (int64_t q = 0; q < ROWS; q++) {
            for (int v = 0; v < VECTORS; v++) store(p[q] + v * LANES, s[q][v] + load(bias + v * LANES));
            double top = p[q][0];
            for (int64_t c = 0; c < WIDTH; c++) top = std::max(top, p[q][c]);
            loss += q < rows ? top - p[q][label[std::min(i + q, n - 1)]] : 0;
            for (int64_t c = 0; c < WIDTH; c++) p[q][c] = std::max(p[q][c] - top, -700.0);
        }
        for (int64_t e = 0; e < ROWS * WIDTH; e++) all[e] = std::exp(all[e]);
        for (int64_t q = 0; q < ROWS; q++) {
            double sum = 0;
            for (int64_t c = 0; c < WIDTH; c++) sum += c < classes ? p[q][c] : 0.0;
            inverse[q] = sum;
        }
        for (int64_t q = 0; q < ROWS; q++) {
            loss += q < rows ? std::log(inverse[q]) : 0;
            inverse[q] = q < rows ? 1 / inverse[q] : 0;
        }
        for (int64_t q = 0; q < rows; q++) {
            for (int64_t c = 0; c < WIDTH; c++) p[q][c] *= inverse[q];
            p[q][label[i + q]] -= 1;
        }
        for (int64_t q = rows; q < ROWS; q++) std::fill(p[q], p[q] + WIDTH, 0.0);
        for (int64_t q = 0; q < ROWS; q++)
            for (int v = 0; v < VECTORS; v++) s[q][v] = load(p[q] + v * LANES), gbias[v] += s[q][v];
        for (int64_t j = 0; j < d; j++) {
            vec g[VECTORS];
            for (int v = 0; v < VECTORS; v++) g[v] = load(sums + j * WIDTH + v * LANES);
#pragma GCC unroll 8
            for (int64_t q = 0; q < ROWS; q++)
#pragma GCC unroll 8
                for (int v = 0; v < VECTORS; v++) g[v] += s[q][v] * x[q][j];
            for (int v = 0; v < VECTORS; v++) store(sums + j * WIDTH + v * LANES, g[v]);
        }
    }
    *value = loss / double(n);
    for (int64_t c = 0; c < classes; c++) gb[c] = gbias[c / LANES][c % LANES] / double(n);
    for (int64_t j = 0; j < d; j++)
        for (int64_t c = 0; c < classes; c++) gW[j * classes + c] = sums[j * WIDTH + c] / double(n);
}

template <int VECTORS = 1>
static void run_for(int64_t classes, const int64_t *sizes, Inputs in, Outputs out, double *work) {
    if constexpr (VECTORS * LANES < MAX_CLASSES)
        if (classes > VECTORS * LANES) return run_for<VECTORS + 1>(classes, sizes, in, out, work);
    run<VECTORS>(sizes, in, out, work);
}

EXPORT int32_t gradient(const int64_t *sizes, Inputs in, Outputs out, void *work) {
    run_for(sizes[2], sizes, in, out, static_cast<double *>(work));
    return 0;
}
