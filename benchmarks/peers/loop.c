/* Time a compiled gradient from C: no interpreter between two calls. */
#include <stdint.h>
#include <time.h>

typedef int32_t gradient(const int64_t *sizes, const void *const *inputs, void *const *outputs,
                         void *workspace);

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* Seconds of processor time of `count` calls. */
double seconds(gradient *function, const int64_t *sizes, const void *const *inputs,
               void *const *outputs, void *workspace, int64_t count) {
    double start = now();
    for (int64_t i = 0; i < count; i++) function(sizes, inputs, outputs, workspace);
    return now() - start;
}
