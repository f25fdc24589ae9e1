// Hand tracking: skinned points of a hand with 26 parameters, residuals and their dense Jacobian.
//
// The derivative of a bone's motion by a joint angle is a 3 x 4 matrix, made once (45 are not zero);
// then lanes are points, and a column of the Jacobian is a sum of at most three such products.
#include "peer.hpp"

constexpr int FINGERS = 5, BONES = 16, PARAMETERS = 26, COLUMNS = 3 * PARAMETERS;

EXPORT int64_t workspace(const int64_t *) { return COLUMNS * LANES * 8; }

struct Motion { // p -> A p + c
    double A[3][3], c[3];
};

static void rotation(int axis, double angle, bool derivative, double R[3][3]) {
    const int u = (axis + 1) % 3, v = (axis + 2) % 3;
    const double c = derivative ? -std::sin(angle) : std::cos(angle);
    const double s = derivative ? std::cos(angle) : std::sin(angle);
    std::fill(&R[0][0], &R[0][0] + 9, 0.0);
    R[axis][axis] = derivative ? 0 : 1;
    R[u][u] = R[v][v] = c, R[u][v] = -s, R[v][u] = s;
}

static void product(const double a[3][3], const double b[3][3], double c[3][3]) {
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++) c[i][j] = a[i][0] * b[0][j] + a[i][1] * b[1][j] + a[i][2] * b[2][j];
}

static void apply(const double a[3][3], const double *x, double *y) {
    for (int i = 0; i < 3; i++) y[i] = a[i][0] * x[0] + a[i][1] * x[1] + a[i][2] * x[2];
}

// Rz(c) Ry(b) Rx(a), or its derivative by one of the angles.
static void euler(const double *angles, int by, double R[3][3]) {
    double x[3][3], y[3][3], z[3][3], zy[3][3];
    rotation(0, angles[0], by == 0, x), rotation(1, angles[1], by == 1, y), rotation(2, angles[2], by == 2, z);
    product(z, y, zy), product(zy, x, R);
}

// The three bones of a finger, in the hand's frame turned by G; `by` is the angle derived by, or -1.
static void finger(const double G[3][3], const double *angles, const double *offsets, int by, Motion *bones) {
    double x[3][3], z[3][3], A[3][3], origin[3] = {}, rest[3] = {}, step[3];
    for (int b = 0; b < 3; b++) {
        const double *offset = offsets + 3 * b;
        // the joint's place moves with the bones before it; derived: only after the angle has acted
        if (b == 0) {
            if (by < 0) apply(G, offset, origin);
            double local[3][3];
            rotation(2, angles[0], by == 0, z), rotation(0, angles[1], by == 1, x);
            product(z, x, local), product(G, local, A);
        } else {
            const bool acted = by < 0 || b - 1 >= (by < 2 ? 0 : by - 1);
            apply(A, offset, step);
            for (int i = 0; i < 3; i++) origin[i] += acted ? step[i] : 0;
            double next[3][3];
            rotation(0, angles[b + 1], by == b + 1, x), product(A, x, next);
            std::copy(&next[0][0], &next[0][0] + 9, &A[0][0]);
        }
        for (int i = 0; i < 3; i++) rest[i] += offset[i];
        const bool moved = by < 0 || b >= (by < 2 ? 0 : by - 1);
        double back[3];
        apply(A, rest, back);
        for (int i = 0; i < 3; i++) {
            for (int j = 0; j < 3; j++) bones[b].A[i][j] = moved ? A[i][j] : 0;
            bones[b].c[i] = moved ? origin[i] - back[i] : 0;
        }
    }
}

EXPORT int32_t gradient(const int64_t *sizes, Inputs in, Outputs out, void *work) {
    const int64_t n = sizes[0];
    const double *theta = input(in, 0), *points = input(in, 1), *weights = input(in, 2);
    const double *offsets = input(in, 3), *targets = input(in, 4);
    double *residual = output(out, 0), *jacobian = output(out, 1);
    double *buffer = static_cast<double *>(work), identity[3][3] = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}};
    double G[3][3], turned[3][3][3];
    Motion bones[FINGERS][3], derived[FINGERS][4][3];
    euler(theta, -1, G);
    for (int k = 0; k < 3; k++) euler(theta, k, turned[k]);
    for (int f = 0; f < FINGERS; f++) {
        finger(identity, theta + 6 + 4 * f, offsets + 9 * f, -1, bones[f]);
        for (int k = 0; k < 4; k++) finger(G, theta + 6 + 4 * f, offsets + 9 * f, k, derived[f][k]);
    }
    for (int64_t start = 0; start < n; start += LANES) {
        const int64_t count = std::min<int64_t>(LANES, n - start);
        vec p[3], w[BONES], y[3];
        for (int64_t i = 0; i < LANES; i++) {
            const int64_t o = start + std::min(i, count - 1);
            for (int a = 0; a < 3; a++) p[a][i] = points[3 * o + a];
        }
        if (count == LANES) {
            for (int half = 0; half < BONES; half += LANES) {
                for (int64_t i = 0; i < LANES; i++) w[half + i] = load(weights + (start + i) * BONES + half);
                transpose(w + half);
            }
        } else {
            for (int64_t i = 0; i < LANES; i++)
                for (int b = 0; b < BONES; b++) w[b][i] = weights[(start + std::min(i, count - 1)) * BONES + b];
        }
        for (int a = 0; a < 3; a++) y[a] = w[0] * p[a];
        for (int f = 0; f < FINGERS; f++) {
            vec weighted[3][3];
            for (int b = 0; b < 3; b++) {
                const vec own = w[1 + 3 * f + b];
                for (int a = 0; a < 3; a++) weighted[b][a] = own * p[a];
                for (int i = 0; i < 3; i++) {
                    const Motion &m = bones[f][b];
                    y[i] += m.A[i][0] * weighted[b][0] + m.A[i][1] * weighted[b][1];
                    y[i] += m.A[i][2] * weighted[b][2] + m.c[i] * own;
                }
            }
            for (int k = 0; k < 4; k++)
                for (int i = 0; i < 3; i++) {
                    vec sum = {};
                    for (int b = k < 2 ? 0 : k - 1; b < 3; b++) {
                        const Motion &m = derived[f][k][b];
                        sum += m.A[i][0] * weighted[b][0] + m.A[i][1] * weighted[b][1];
                        sum += m.A[i][2] * weighted[b][2] + m.c[i] * w[1 + 3 * f + b];
                    }
                    store(buffer + (i * PARAMETERS + 6 + 4 * f + k) * LANES, sum);
                }
        }
        for (int i = 0; i < 3; i++) {
            const vec at = G[i][0] * y[0] + G[i][1] * y[1] + G[i][2] * y[2] + theta[3 + i];
            for (int k = 0; k < 3; k++) {
                const double *row = turned[k][i];
                store(buffer + (i * PARAMETERS + k) * LANES, row[0] * y[0] + row[1] * y[1] + row[2] * y[2]);
                store(buffer + (i * PARAMETERS + 3 + k) * LANES, vec{} + (i == k ? 1.0 : 0.0));
            }
            for (int64_t q = 0; q < count; q++) {
                const int64_t o = 3 * (start + q) + i;
                residual[o] = at[q] - targets[o];
            }
        }
        store_records(buffer, LANES, COLUMNS, count, jacobian + start * COLUMNS);
    }
    return 0;
}
