// The chain of a robot arm in Denavit-Hartenberg form: axes z_i and origins p_i of its joints.
#pragma once
#include "peer.hpp"

constexpr int JOINTS = 7;
struct Point {
    double x, y, z;
};
inline Point operator+(Point a, Point b) { return {a.x + b.x, a.y + b.y, a.z + b.z}; }
inline Point operator-(Point a, Point b) { return {a.x - b.x, a.y - b.y, a.z - b.z}; }
inline Point operator*(double s, Point a) { return {s * a.x, s * a.y, s * a.z}; }
inline double dot(Point a, Point b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
inline Point cross(Point a, Point b) {
    return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x};
}

struct Chain {
    Point axis[JOINTS], origin[JOINTS], end;
};

// q, then a, d, cos alpha, sin alpha of each link: T_i = Rz(q) Tz(d) Tx(a) Rx(alpha)
inline Chain chain(const double *q, const double *a, const double *d, const double *ca, const double *sa) {
    double sine[8] = {}, cosine[8] = {}, angle[8] = {};
    std::copy(q, q + JOINTS, angle);
    for (int i = 0; i < 8; i++) sine[i] = std::sin(angle[i]);
    for (int i = 0; i < 8; i++) cosine[i] = std::cos(angle[i]);
    Chain c;
    Point x = {1, 0, 0}, y = {0, 1, 0}, z = {0, 0, 1}, p = {0, 0, 0};
#pragma GCC unroll 7
    for (int i = 0; i < JOINTS; i++) {
        c.axis[i] = z, c.origin[i] = p;
        const Point u = cosine[i] * x + sine[i] * y, v = cosine[i] * y - sine[i] * x;
        p = p + a[i] * u + d[i] * z;
        const Point w = ca[i] * v + sa[i] * z;
        z = ca[i] * z - sa[i] * v;
        x = u, y = w;
    }
    c.end = p;
    return c;
}
