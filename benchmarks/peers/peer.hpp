// What every hand-written gradient shares: the calling convention, the machine's vectors, and sums of
// their lanes.
//
// A peer exports, as the libraries that gradc builds do,
//     int32_t gradient(const int64_t *sizes, const void *const *in, void *const *out, void *work);
//     int64_t workspace(const int64_t *sizes);   // bytes, 64-byte aligned memory
// Built with g++ -O3 -march=native -ffast-math; exp, log and the like are vectorised by gcc with
// libmvec. No peer allocates. What is known of the machine stands here alone: peers are written in
// LANES, REGISTERS and tiles.
#pragma once
#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <utility>

#define EXPORT extern "C"
using std::int32_t;
using std::int64_t;
using Inputs = const void *const *;
using Outputs = void *const *;

template <class T = double> inline const T *input(Inputs in, int i) {
    return static_cast<const T *>(in[i]);
}
template <class T = double> inline T *output(Outputs out, int i) { return static_cast<T *>(out[i]); }

// How many doubles a vector has, how many vectors the registers hold, and the store to an aligned
// place that does not read the cache's line first.
#if defined(__AVX512F__)
constexpr int LANES = 8, REGISTERS = 32;
#define STREAM _mm512_stream_pd
#elif defined(__AVX__)
constexpr int LANES = 4, REGISTERS = 16;
#define STREAM _mm256_stream_pd
#else
constexpr int LANES = 2, REGISTERS = 16;
#define STREAM _mm_stream_pd
#endif
constexpr int VECTOR_BYTES = LANES * int(sizeof(double));

// A tile of sums that stays in registers, beside a row's vectors and a factor: 8 x 3, or 4 x 3.
constexpr int TILE_ROWS = REGISTERS / 4, TILE_VECTORS = 3;

template <class T> struct VectorOf {
    typedef T type __attribute__((vector_size(VECTOR_BYTES)));
    typedef T unaligned __attribute__((vector_size(VECTOR_BYTES), aligned(alignof(T))));
};
using vec = VectorOf<double>::type;
using vec_of_integers = VectorOf<int64_t>::type;

template <class T> inline typename VectorOf<T>::type load(const T *p) {
    return *reinterpret_cast<const typename VectorOf<T>::unaligned *>(p);
}
template <class T> inline void store(T *p, typename VectorOf<T>::type v) {
    *reinterpret_cast<typename VectorOf<T>::unaligned *>(p) = v;
}
inline bool is_aligned(const double *p) {
    return reinterpret_cast<std::uintptr_t>(p) % VECTOR_BYTES == 0;
}
inline void stream(double *p, vec v) { STREAM(p, v); }
// The same vector, in a register from here on: gcc loads an operand of many products at each of them.
template <class V> inline V in_register(V v) {
    asm("" : "+v"(v));
    return v;
}
inline double lane_sum(vec v) {
    double total = 0;
    for (int i = 0; i < LANES; i++) total += v[i];
    return total;
}

// Rows to columns of a square that has as many rows as a vector entries: r[i][j] becomes r[j][i]. A
// step exchanges blocks of STEP x STEP entries beside the diagonal, for STEP 1, 2, 4, ...
template <int STEP, class V, int... J>
inline void exchange(V r[], std::integer_sequence<int, J...>) {
    constexpr int lanes = sizeof...(J);
    using order = decltype(r[0] < r[0]);
    constexpr order low = {(J & STEP ? lanes + J - STEP : J)...};
    constexpr order high = {(J & STEP ? lanes + J : J + STEP)...};
    for (int i = 0; i < lanes; i++)
        if (!(i & STEP)) {
            const V a = r[i], b = r[i + STEP];
            r[i] = __builtin_shuffle(a, b, low);
            r[i + STEP] = __builtin_shuffle(a, b, high);
        }
}
template <int STEP = 1, class V> inline void transpose(V r[]) {
    constexpr int lanes = sizeof(V) / sizeof(r[0][0]);
    if constexpr (STEP < lanes) {
        exchange<STEP>(r, std::make_integer_sequence<int, lanes>());
        transpose<2 * STEP>(r);
    }
}

// Write `count` <= LANES records of `size` numbers: entry e of record i is from[e * stride + i].
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
