// Bundle adjustment: reprojection with Rodrigues rotation and radial distortion; for each observation
// two residuals and the 2 x 15 block of the Jacobian (camera 11, point 3, weight 1).
// Blocks of observations lie entry by entry in the first cache, so that gcc vectorises the formulas.
#include "peer.hpp"

constexpr int64_t BLOCK = 64, CAMERA = 11, ROWS = 17; // camera, point, feature, weight

EXPORT int64_t workspace(const int64_t *) { return (ROWS + 32) * BLOCK * 8; }

typedef double block_of[BLOCK];

// r: rotation 3, centre 3, f, x0 2, k 2, point 3, feature 2, weight
static void blocks(const block_of *__restrict p, block_of *__restrict out) {
    // sine and cosine apart: gcc joins them to sincos otherwise, which libmvec does not vectorise here
    alignas(64) double angles[BLOCK], sines[BLOCK], cosines[BLOCK];
    for (int64_t i = 0; i < BLOCK; i++)
        angles[i] = std::sqrt(p[0][i] * p[0][i] + p[1][i] * p[1][i] + p[2][i] * p[2][i]);
    for (int64_t i = 0; i < BLOCK; i++) sines[i] = std::sin(angles[i]);
    for (int64_t i = 0; i < BLOCK; i++) cosines[i] = std::cos(angles[i]);
#pragma GCC ivdep
    for (int64_t i = 0; i < BLOCK; i++) {
        const double r0 = p[0][i], r1 = p[1][i], r2 = p[2][i], f = p[6][i], k1 = p[9][i], k2 = p[10][i];
        const double X0 = p[11][i] - p[3][i], X1 = p[12][i] - p[4][i], X2 = p[13][i] - p[5][i];
        const double angle = angles[i], square = angle * angle;
        const double c = cosines[i], a = sines[i] / angle, inverse = 1 / square;
        const double b = (1 - c) * inverse, da = (c - a) * inverse, db = (a - 2 * b) * inverse;
        const double C0 = r1 * X2 - r2 * X1, C1 = r2 * X0 - r0 * X2, C2 = r0 * X1 - r1 * X0;
        const double along = r0 * X0 + r1 * X1 + r2 * X2;
        const double Y0 = c * X0 + a * C0 + b * along * r0;
        const double Y1 = c * X1 + a * C1 + b * along * r1;
        const double Y2 = c * X2 + a * C2 + b * along * r2;
        // dY/dr_j = r_j Z + a e_j x X + b (X_j r + along e_j), Z = -a X + da r x X + db along r
        const double Z0 = -a * X0 + da * C0 + db * along * r0;
        const double Z1 = -a * X1 + da * C1 + db * along * r1;
        const double Z2 = -a * X2 + da * C2 + db * along * r2;
        const double l = b * along;
        const double Y0r0 = r0 * Z0 + b * X0 * r0 + l, Y1r0 = r0 * Z1 - a * X2 + b * X0 * r1;
        const double Y2r0 = r0 * Z2 + a * X1 + b * X0 * r2;
        const double Y0r1 = r1 * Z0 + a * X2 + b * X1 * r0, Y1r1 = r1 * Z1 + b * X1 * r1 + l;
        const double Y2r1 = r1 * Z2 - a * X0 + b * X1 * r2;
        const double Y0r2 = r2 * Z0 - a * X1 + b * X2 * r0, Y1r2 = r2 * Z1 + a * X0 + b * X2 * r1;
        const double Y2r2 = r2 * Z2 + b * X2 * r2 + l;
        const double z = 1 / Y2, u = Y0 * z, v = Y1 * z, s = u * u + v * v, w = p[16][i];
        const double L = 1 + s * (k1 + s * k2), D = 2 * (k1 + 2 * k2 * s), wf = w * f;
        const double apart0 = f * L * u + p[7][i] - p[14][i], apart1 = f * L * v + p[8][i] - p[15][i];
        // d residual / d (u, v), then / d Y
        const double gu0 = wf * (L + D * u * u), g01 = wf * D * u * v, gv1 = wf * (L + D * v * v);
        const double A0 = gu0 * z, A1 = g01 * z, A2 = -(gu0 * u + g01 * v) * z;
        const double B0 = g01 * z, B1 = gv1 * z, B2 = -(g01 * u + gv1 * v) * z;
        // columns of the rotation: c I + a [r] + b r r^T
        const double ar0 = a * r0, ar1 = a * r1, ar2 = a * r2, br0 = b * r0, br1 = b * r1, br2 = b * r2;
        const double R00 = c + br0 * r0, R01 = br0 * r1 - ar2, R02 = br0 * r2 + ar1;
        const double R10 = br0 * r1 + ar2, R11 = c + br1 * r1, R12 = br1 * r2 - ar0;
        const double R20 = br0 * r2 - ar1, R21 = br1 * r2 + ar0, R22 = c + br2 * r2;
        const double P0 = A0 * R00 + A1 * R10 + A2 * R20, P1 = A0 * R01 + A1 * R11 + A2 * R21;
        const double P2 = A0 * R02 + A1 * R12 + A2 * R22;
        const double Q0 = B0 * R00 + B1 * R10 + B2 * R20, Q1 = B0 * R01 + B1 * R11 + B2 * R21;
        const double Q2 = B0 * R02 + B1 * R12 + B2 * R22;
        out[0][i] = A0 * Y0r0 + A1 * Y1r0 + A2 * Y2r0;
        out[1][i] = A0 * Y0r1 + A1 * Y1r1 + A2 * Y2r1;
        out[2][i] = A0 * Y0r2 + A1 * Y1r2 + A2 * Y2r2;
        out[3][i] = -P0, out[4][i] = -P1, out[5][i] = -P2;
        out[6][i] = w * L * u, out[7][i] = w, out[8][i] = 0;
        out[9][i] = wf * s * u, out[10][i] = wf * s * s * u;
        out[11][i] = P0, out[12][i] = P1, out[13][i] = P2, out[14][i] = apart0;
        out[15][i] = B0 * Y0r0 + B1 * Y1r0 + B2 * Y2r0;
        out[16][i] = B0 * Y0r1 + B1 * Y1r1 + B2 * Y2r1;
        out[17][i] = B0 * Y0r2 + B1 * Y1r2 + B2 * Y2r2;
        out[18][i] = -Q0, out[19][i] = -Q1, out[20][i] = -Q2;
        out[21][i] = w * L * v, out[22][i] = 0, out[23][i] = w;
        out[24][i] = wf * s * v, out[25][i] = wf * s * s * v;
        out[26][i] = Q0, out[27][i] = Q1, out[28][i] = Q2, out[29][i] = apart1;
        out[30][i] = w * apart0, out[31][i] = w * apart1;
    }
}

EXPORT int32_t gradient(const int64_t *sizes, Inputs in, Outputs out, void *work) {
    const int64_t n = sizes[0];
    const double *cameras = input(in, 0), *points = input(in, 1), *weights = input(in, 2);
    const double *features = input(in, 3);
    const int64_t *camera = input<int64_t>(in, 4), *point = input<int64_t>(in, 5);
    double *residual = output(out, 0), *jacobian = output(out, 1);
    block_of *p = static_cast<block_of *>(work), *result = p + ROWS;
    for (int64_t start = 0; start < n; start += BLOCK) {
        const int64_t count = std::min(BLOCK, n - start);
        for (int64_t i = 0; i < BLOCK; i++) {
            const int64_t o = start + std::min(i, count - 1);
            const double *c = cameras + camera[o] * CAMERA, *x = points + point[o] * 3;
            for (int64_t a = 0; a < CAMERA; a++) p[a][i] = c[a];
            for (int64_t a = 0; a < 3; a++) p[11 + a][i] = x[a];
            p[14][i] = features[2 * o], p[15][i] = features[2 * o + 1], p[16][i] = weights[o];
        }
        blocks(p, result);
        double *to = jacobian + start * 30;
        for (int64_t i = 0; i < count; i += LANES)
            store_records(result[0] + i, BLOCK, 30, std::min<int64_t>(LANES, count - i), to + i * 30);
        for (int64_t i = 0; i < count; i++)
            residual[2 * (start + i)] = result[30][i], residual[2 * (start + i) + 1] = result[31][i];
    }
    return 0;
}
