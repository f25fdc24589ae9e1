// What every hand-written gradient shares: the calling convention, vectors, and sums of their lanes.
//
// A peer exports, as the libraries that gradc builds do,
//     int32_t gradient(const int64_t *sizes, const void *const *in, void *const *out, void *work);
//     int64_t workspace(const int64_t *sizes);   // bytes, 64-byte aligned memory
// Built with g++ -O3 -march=native -ffast-math; exp, log and the like are vectorised by gcc with
// libmvec. No peer allocates.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#define EXPORT extern "C"
using std::int32_t;
using std::int64_t;
using Inputs = const void *const *;
using Outputs = void *const *;

template <class T = double> inline const T *input(Inputs in, int i) {
    return static_cast<const T *>(in[i]);
}
template <class T = double> inline T *output(Outputs out, int i) { return static_cast<T *>(out[i]); }

constexpr int LANES = 8;
typedef double vec __attribute__((vector_size(64)));
typedef double vec_unaligned __attribute__((vector_size(64), aligned(8)));

inline vec load(const double *p) { return *reinterpret_cast<const vec_unaligned *>(p); }
inline void store(double *p, vec v) { *reinterpret_cast<vec_unaligned *>(p) = v; }
inline double lane_sum(vec v) {
    double total = 0;
    for (int i = 0; i < LANES; i++) total += v[i];
    return total;
}

// Rows to columns: r[i][j] becomes r[j][i].
inline void transpose(vec r[LANES]) {
    typedef int64_t order __attribute__((vector_size(64)));
    const order even = {0, 8, 2, 10, 4, 12, 6, 14}, odd = {1, 9, 3, 11, 5, 13, 7, 15};
    const order low = {0, 1, 8, 9, 4, 5, 12, 13}, high = {2, 3, 10, 11, 6, 7, 14, 15};
    const order front = {0, 1, 2, 3, 8, 9, 10, 11}, back = {4, 5, 6, 7, 12, 13, 14, 15};
    vec a[LANES], b[LANES];
    for (int i = 0; i < LANES; i += 2) {
        a[i] = __builtin_shuffle(r[i], r[i + 1], even);
        a[i + 1] = __builtin_shuffle(r[i], r[i + 1], odd);
    }
    for (int i = 0; i < LANES; i += 4)
        for (int j = 0; j < 2; j++) {
            b[i + j] = __builtin_shuffle(a[i + j], a[i + j + 2], low);
            b[i + j + 2] = __builtin_shuffle(a[i + j], a[i + j + 2], high);
        }
    for (int j = 0; j < 4; j++) {
        r[j] = __builtin_shuffle(b[j], b[j + 4], front);
        r[j + 4] = __builtin_shuffle(b[j], b[j + 4], back);
    }
}

// Write `count` <= 8 records of `size` numbers: entry e of record i is from[e * stride + i].
inline void store_records(const double *from, int64_t stride, int64_t size, int64_t count, double *to) {
    int64_t e = 0;
    if (count == LANES)
        for (; e + LANES <= size; e += LANES) {
            vec r[LANES];
            for (int j = 0; j < LANES; j++) r[j] = load(from + (e + j) * stride);
            transpose(r);
            for (int i = 0; i < LANES; i++) store(to + i * size + e, r[i]);
        }
    for (; e < size; e++)
        for (int64_t i = 0; i < count; i++) to[i * size + e] = from[e * stride + i];
}
