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
