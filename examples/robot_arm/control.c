/* Let the hand of the arm follow a circle, a thousand control steps a second: no Python, no memory
 * allocated, one library.
 *
 * A step turns the joints by damped least squares (Wampler, 1986):
 *
 *     velocity = J' (J J' + DAMPING I)^-1 (target velocity + GAIN (target - pose)) */
#include <math.h>
#include <stdalign.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "arm.h"

enum { JOINTS = 6, POSE = 6, WORKSPACE = 16384, STEPS = 4000 };
static const double DT = 1e-3, RADIUS = 0.1, TURN = 3.14159265358979324, GAIN = 50, DAMPING = 1e-8;

static alignas(64) unsigned char workspace[WORKSPACE];

/* Solve A x = b for a symmetric positive definite A, by Cholesky's factors, in place. */
static void solve(double A[POSE][POSE], double x[POSE]) {
    for (int j = 0; j < POSE; j++) {
        for (int k = 0; k < j; k++) A[j][j] -= A[j][k] * A[j][k];
        A[j][j] = sqrt(A[j][j]);
        for (int i = j + 1; i < POSE; i++) {
            for (int k = 0; k < j; k++) A[i][j] -= A[i][k] * A[j][k];
            A[i][j] /= A[j][j];
        }
    }
    for (int i = 0; i < POSE; i++) {
        for (int k = 0; k < i; k++) x[i] -= A[i][k] * x[k];
        x[i] /= A[i][i];
    }
    for (int i = POSE - 1; i >= 0; i--) {
        for (int k = i + 1; k < POSE; k++) x[i] -= A[k][i] * x[k];
        x[i] /= A[i][i];
    }
}

/* Where the hand is to be at a time, pointing down, and how fast that moves. */
static void circle(double time, const double center[3], double target[POSE], double speed[POSE]) {
    double angle = TURN * time;
    memset(speed, 0, POSE * sizeof(double));
    target[0] = center[0] + RADIUS * sin(angle);
    target[1] = center[1];
    target[2] = center[2] + RADIUS * (1 - cos(angle));
    target[3] = target[4] = 0;
    target[5] = -1;
    speed[0] = RADIUS * TURN * cos(angle);
    speed[2] = RADIUS * TURN * sin(angle);
}

/* One step of the controller; the status of the library. */
static int32_t step(double time, const double center[3], double q[JOINTS], double *distance) {
    double pose[POSE], J[POSE][JOINTS], A[POSE][POSE], target[POSE], force[POSE];
    int32_t status = hand_and_jacobian(q, pose, &J[0][0], workspace);
    circle(time, center, target, force);
    *distance = hypot(hypot(target[0] - pose[0], target[1] - pose[1]), target[2] - pose[2]);
    for (int i = 0; i < POSE; i++) force[i] += GAIN * (target[i] - pose[i]);
    for (int i = 0; i < POSE; i++)
        for (int j = 0; j < POSE; j++) {
            A[i][j] = i == j ? DAMPING : 0;
            for (int k = 0; k < JOINTS; k++) A[i][j] += J[i][k] * J[j][k];
        }
    solve(A, force);
    for (int k = 0; k < JOINTS; k++)
        for (int i = 0; i < POSE; i++) q[k] += DT * J[i][k] * force[i];
    return status;
}

/* How far the Jacobian is from central differences of the hand. */
static double check(const double q[JOINTS]) {
    double pose[POSE], J[POSE][JOINTS], high[POSE], low[POSE], worst = 0;
    hand_and_jacobian(q, pose, &J[0][0], workspace);
    for (int k = 0; k < JOINTS; k++) {
        double moved[JOINTS], h = 1e-5;
        memcpy(moved, q, sizeof moved);
        moved[k] = q[k] + h;
        hand(moved, high, workspace);
        moved[k] = q[k] - h;
        hand(moved, low, workspace);
        for (int i = 0; i < POSE; i++)
            worst = fmax(worst, fabs((high[i] - low[i]) / (2 * h) - J[i][k]));
    }
    return worst;
}

static double seconds(void) {
    struct timespec now;
    timespec_get(&now, TIME_UTC);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

int main(void) {
    double q[JOINTS] = {0.3, -1.4, 1.8, -2.0, -1.57, 0.0}, center[POSE], distance, worst = 0;
    if (hand_workspace() > WORKSPACE || hand_and_jacobian_workspace() > WORKSPACE) {
        fprintf(stderr, "control: the workspace is too small\n");
        return 1;
    }
    hand(q, center, workspace);
    printf("Jacobian  agrees with differences to %.1e\n", check(q));
    double start = seconds();
    for (int i = 0; i < STEPS; i++) {
        if (step(i * DT, center, q, &distance) != GRADC_OK) return 1;
        if (i * DT > 0.5) worst = fmax(worst, distance); /* the hand has found the circle by then */
        if (i % 500 == 0) printf("%6.1f s  %.6f mm off the circle\n", i * DT, 1e3 * distance);
    }
    double each = 1e6 * (seconds() - start) / STEPS;
    printf("control   %.1f microseconds a step, %.6f mm off at most\n", each, 1e3 * worst);
    return worst < 1e-4 ? 0 : 1;
}
