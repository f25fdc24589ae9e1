// Perceptron with two hidden layers of tanh and softmax cross entropy: value and all gradients.
// Products by a packed, register-tiled kernel (Goto and van de Geijn, "Anatomy of high-performance
// matrix multiplication", 2008): 8 rows by 3 vectors of columns stay in 24 registers.
#include "peer.hpp"

template <class T> struct Kernel {
    static constexpr int64_t WIDTH = 64 / sizeof(T), ROWS = 8, COLUMNS = 3 * WIDTH;
    static constexpr int64_t DEPTH = 256, BLOCK = 128; // of k, of m
    typedef T wide __attribute__((vector_size(64)));
    typedef T wide_unaligned __attribute__((vector_size(64), aligned(4)));

    static void tile(int64_t k, const T *a, const T *b, T *c, int64_t row) {
        wide sum[ROWS][3] = {};
        for (int64_t p = 0; p < k; p++, a += ROWS, b += COLUMNS) {
            const wide *v = reinterpret_cast<const wide *>(b);
            const wide b0 = v[0], b1 = v[1], b2 = v[2];
#pragma GCC unroll 8
            for (int64_t i = 0; i < ROWS; i++)
                sum[i][0] += a[i] * b0, sum[i][1] += a[i] * b1, sum[i][2] += a[i] * b2;
        }
#pragma GCC unroll 8
        for (int64_t i = 0; i < ROWS; i++)
#pragma GCC unroll 3
            for (int64_t j = 0; j < 3; j++)
                *reinterpret_cast<wide_unaligned *>(c + i * row + j * WIDTH) += sum[i][j];
    }
};

// A matrix whose entry (i, j) is p[i * row + j * column].
template <class T> struct Matrix {
    const T *p;
    int64_t row, column;
    const T &operator()(int64_t i, int64_t j) const { return p[i * row + j * column]; }
};

// C = A B; C has contiguous rows. `work` holds a packed block of A and all of a panel of B.
template <class T>
static void multiply(int64_t m, int64_t n, int64_t k, Matrix<T> A, Matrix<T> B, T *C, T *work) {
    using K = Kernel<T>;
    T *a = work, *b = work + K::BLOCK * K::DEPTH;
    std::fill(C, C + m * n, T(0));
    for (int64_t p = 0; p < k; p += K::DEPTH) {
        const int64_t depth = std::min(K::DEPTH, k - p);
        for (int64_t j = 0; j < n; j += K::COLUMNS) {
            T *panel = b + j * depth;
            const int64_t columns = std::min(K::COLUMNS, n - j);
            if (B.column == 1)
                for (int64_t q = 0; q < depth; q++) {
                    std::copy(&B(p + q, j), &B(p + q, j) + columns, panel + q * K::COLUMNS);
                    std::fill(panel + q * K::COLUMNS + columns, panel + (q + 1) * K::COLUMNS, T(0));
                }
            else
                for (int64_t c = 0; c < K::COLUMNS; c++)
                    for (int64_t q = 0; q < depth; q++)
                        panel[q * K::COLUMNS + c] = c < columns ? B(p + q, j + c) : T(0);
        }
        for (int64_t i = 0; i < m; i += K::BLOCK) {
            const int64_t block = std::min(K::BLOCK, m - i);
            for (int64_t r = 0; r < block; r += K::ROWS)
                for (int64_t s = 0; s < K::ROWS; s++)
                    for (int64_t q = 0; q < depth; q++)
                        a[r * depth + q * K::ROWS + s] = r + s < block ? A(i + r + s, p + q) : T(0);
            for (int64_t j = 0; j < n; j += K::COLUMNS)
                for (int64_t r = 0; r < block; r += K::ROWS) {
                    T *c = C + (i + r) * n + j;
                    if (r + K::ROWS <= block && j + K::COLUMNS <= n) {
                        K::tile(depth, a + r * depth, b + j * depth, c, n);
                        continue;
                    }
                    alignas(64) T edge[K::ROWS * K::COLUMNS] = {};
                    K::tile(depth, a + r * depth, b + j * depth, edge, K::COLUMNS);
                    for (int64_t s = 0; s < std::min(K::ROWS, block - r); s++)
                        for (int64_t q = 0; q < std::min(K::COLUMNS, n - j); q++)
                            c[s * n + q] += edge[s * K::COLUMNS + q];
                }
        }
    }
}

template <class T> static Matrix<T> plain(const T *p, int64_t columns) { return {p, columns, 1}; }
template <class T> static Matrix<T> turned(const T *p, int64_t columns) { return {p, 1, columns}; }

template <class T> static void column_sums(int64_t m, int64_t n, const T *__restrict x, T *__restrict sum) {
    std::fill(sum, sum + n, T(0));
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) sum[j] += x[i * n + j];
}

// sizes: batch, inputs, hidden, classes, bits of a number
static int64_t numbers(const int64_t *s) {
    const int64_t width = std::max(s[1], s[2]) + 64;
    return 4 * s[0] * s[2] + s[0] * s[3] + 128 * 256 + 256 * width + 256;
}
EXPORT int64_t workspace(const int64_t *s) { return numbers(s) * s[4] / 8; }

template <class T> static void hidden(int64_t m, int64_t n, T *__restrict z, const T *__restrict b) {
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) z[i * n + j] = std::tanh(z[i * n + j] + b[j]);
}
template <class T> static void back(int64_t count, T *__restrict g, const T *__restrict h) {
    for (int64_t i = 0; i < count; i++) g[i] *= T(1) - h[i] * h[i];
}

template <class T> static void run(const int64_t *s, Inputs in, Outputs out, void *memory) {
    const int64_t m = s[0], d = s[1], h = s[2], c = s[3];
    const T *W1 = input<T>(in, 0), *b1 = input<T>(in, 1), *W2 = input<T>(in, 2), *b2 = input<T>(in, 3);
    const T *W3 = input<T>(in, 4), *b3 = input<T>(in, 5), *X = input<T>(in, 6);
    const int64_t *label = input<int64_t>(in, 7);
    T *work = static_cast<T *>(memory);
    T *h1 = work + 128 * 256 + 256 * (std::max(d, h) + 64), *h2 = h1 + m * h;
    T *g1 = h2 + m * h, *g2 = g1 + m * h, *z = g2 + m * h;
    multiply(m, h, d, plain(X, d), plain(W1, h), h1, work);
    hidden(m, h, h1, b1);
    multiply(m, h, h, plain<T>(h1, h), plain(W2, h), h2, work);
    hidden(m, h, h2, b2);
    multiply(m, c, h, plain<T>(h2, h), plain(W3, c), z, work);
    T loss = 0;
    for (int64_t i = 0; i < m; i++) {
        T *row = z + i * c, top = row[0] + b3[0], sum = 0;
        for (int64_t j = 0; j < c; j++) top = std::max(top, row[j] += b3[j]);
        loss += top - row[label[i]];
        for (int64_t j = 0; j < c; j++) sum += row[j] = std::exp(row[j] - top);
        loss += std::log(sum);
        for (int64_t j = 0; j < c; j++) row[j] /= sum * T(m);
        row[label[i]] -= T(1) / T(m);
    }
    *output<T>(out, 0) = loss / T(m);
    multiply(h, c, m, turned<T>(h2, h), plain<T>(z, c), output<T>(out, 5), work);
    column_sums(m, c, z, output<T>(out, 6));
    multiply(m, h, c, plain<T>(z, c), turned(W3, c), g2, work);
    back(m * h, g2, h2);
    multiply(h, h, m, turned<T>(h1, h), plain<T>(g2, h), output<T>(out, 3), work);
    column_sums(m, h, g2, output<T>(out, 4));
    multiply(m, h, h, plain<T>(g2, h), turned(W2, h), g1, work);
    back(m * h, g1, h1);
    multiply(d, h, m, turned(X, d), plain<T>(g1, h), output<T>(out, 1), work);
    column_sums(m, h, g1, output<T>(out, 2));
}

EXPORT int32_t gradient(const int64_t *sizes, Inputs in, Outputs out, void *work) {
    sizes[4] == 32 ? run<float>(sizes, in, out, work) : run<double>(sizes, in, out, work);
    return 0;
}
