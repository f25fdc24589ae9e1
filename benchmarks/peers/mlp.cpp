// Perceptron with two hidden layers of tanh and softmax cross entropy: value and all gradients.
// Products by a packed, register-tiled kernel (Goto and van de Geijn, "Anatomy of high-performance
// matrix multiplication", 2008): a tile of sums stays in registers.
#include "peer.hpp"

template <class T> struct Kernel {
    static constexpr int64_t WIDTH = VECTOR_BYTES / sizeof(T), ROWS = TILE_ROWS;
    static constexpr int64_t COLUMNS = TILE_VECTORS * WIDTH;
    static constexpr int64_t DEPTH = 256, BLOCK = 128; // of k, of m

    static void tile(int64_t k, const T *__restrict a, const T *__restrict b, T *__restrict c, int64_t row) {
        using wide = typename VectorOf<T>::type;
        wide sum[ROWS][TILE_VECTORS] = {};
        for (int64_t p = 0; p < k; p++, a += ROWS, b += COLUMNS) {
            const wide *v = reinterpret_cast<const wide *>(b);
            const wide b0 = in_register(v[0]), b1 = in_register(v[1]), b2 = in_register(v[2]);
#pragma GCC unroll 8
            for (int64_t i = 0; i < ROWS; i++)
                sum[i][0] += a[i] * b0, sum[i][1] += a[i] * b1, sum[i][2] += a[i] * b2;
        }
#pragma GCC unroll 8
        for (int64_t i = 0; i < ROWS; i++)
#pragma GCC unroll 3
            for (int64_t j = 0; j < TILE_VECTORS; j++) {
                T *to = c + i * row + j * WIDTH;
                store(to, load(to) + sum[i][j]);
            }
    }
};

// A matrix whose entry (i, j) is p[i * row + j * column].
template <class T> struct Matrix {
    const T *p;
    int64_t row, column;
    const T &operator()(int64_t i, int64_t j) const { return p[i * row + j * column]; }
    Matrix from(int64_t i, int64_t j) const { return {&(*this)(i, j), row, column}; }
    Matrix turned() const { return {p, column, row}; }
};

// At most LINES lines of a product's operand side by side: entry (s, q) of M becomes to[q * LINES + s],
// zero from s = lines on.
template <int64_t LINES, class T>
static void pack(Matrix<T> M, int64_t lines, int64_t depth, T *to) {
    using wide = typename VectorOf<T>::type;
    constexpr int64_t WIDTH = Kernel<T>::WIDTH;
    int64_t q = 0;
    if (M.row == 1 && lines == LINES)
        for (; q < depth; q++) std::copy(&M(0, q), &M(0, q) + LINES, to + q * LINES);
    else if (M.column == 1 && lines == LINES && LINES % WIDTH == 0)
        for (; q + WIDTH <= depth; q += WIDTH)
            for (int64_t s = 0; s < LINES; s += WIDTH) {
                wide r[WIDTH];
                for (int64_t i = 0; i < WIDTH; i++) r[i] = load(&M(s + i, q));
                transpose(r);
                for (int64_t i = 0; i < WIDTH; i++) store(to + (q + i) * LINES + s, r[i]);
            }
    for (; q < depth; q++)
        for (int64_t s = 0; s < LINES; s++) to[q * LINES + s] = s < lines ? M(s, q) : T(0);
}

// All lines, LINES a panel; strip by strip of the depth, so that lines of the cache are read once.
template <int64_t LINES, class T>
static void pack_panels(Matrix<T> M, int64_t lines, int64_t depth, T *to) {
    constexpr int64_t STRIP = 64 / sizeof(T);
    for (int64_t q = 0; q < depth; q += STRIP)
        for (int64_t s = 0; s < lines; s += LINES)
            pack<LINES>(M.from(s, q), std::min(LINES, lines - s), std::min(STRIP, depth - q),
                        to + s * depth + q * LINES);
}

// C = A B; C has contiguous rows. `work` holds a packed block of A and all of a panel of B.
template <class T>
static void multiply(int64_t m, int64_t n, int64_t k, Matrix<T> A, Matrix<T> B, T *C, T *work) {
    using K = Kernel<T>;
    T *a = work, *b = work + K::BLOCK * K::DEPTH;
    std::fill(C, C + m * n, T(0));
    for (int64_t p = 0; p < k; p += K::DEPTH) {
        const int64_t depth = std::min(K::DEPTH, k - p);
        pack_panels<K::COLUMNS>(B.from(p, 0).turned(), n, depth, b);
        for (int64_t i = 0; i < m; i += K::BLOCK) {
            const int64_t block = std::min(K::BLOCK, m - i);
            pack_panels<K::ROWS>(A.from(i, p), block, depth, a);
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
    multiply(h, c, m, plain<T>(h2, h).turned(), plain<T>(z, c), output<T>(out, 5), work);
    column_sums(m, c, z, output<T>(out, 6));
    multiply(m, h, c, plain<T>(z, c), plain(W3, c).turned(), g2, work);
    back(m * h, g2, h2);
    multiply(h, h, m, plain<T>(h1, h).turned(), plain<T>(g2, h), output<T>(out, 3), work);
    column_sums(m, h, g2, output<T>(out, 4));
    multiply(m, h, h, plain<T>(g2, h), plain(W2, h).turned(), g1, work);
    back(m * h, g1, h1);
    multiply(d, h, m, plain(X, d).turned(), plain<T>(g1, h), output<T>(out, 1), work);
    column_sums(m, h, g1, output<T>(out, 2));
}

EXPORT int32_t gradient(const int64_t *sizes, Inputs in, Outputs out, void *work) {
    sizes[4] == 32 ? run<float>(sizes, in, out, work) : run<double>(sizes, in, out, work);
    return 0;
}
