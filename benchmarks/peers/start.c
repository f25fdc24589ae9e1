/* A program that runs a compiled gradient once, and says when it had it.
 *
 *     start LIBRARY FILE
 *
 * FILE: 64-bit numbers: how many sizes, inputs, outputs; the sizes; the bytes of each input and
 * output; then, from the next multiple of 64 on, the inputs, each from such a multiple on.
 * Prints the seconds of processor time from the process's start to the first gradient. */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

typedef int32_t gradient(const int64_t *sizes, const void *const *inputs, void *const *outputs,
                         void *workspace);
enum { MOST = 64 };

int main(int count, char **words) {
    if (count != 3) return 2;
    void *library = dlopen(words[1], RTLD_NOW | RTLD_LOCAL);
    gradient *function = library ? (gradient *)dlsym(library, "gradc_call_gradient") : NULL;
    const int file = open(words[2], O_RDONLY);
    struct stat about;
    if (!function || file < 0 || fstat(file, &about) != 0) return 3;
    char *start = mmap(NULL, (size_t)about.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, file, 0);
    if (start == MAP_FAILED) return 4;
    const int64_t *head = (const int64_t *)start, *sizes = head + 3, *bytes = sizes + head[0];
    const void *inputs[MOST];
    void *outputs[MOST];
    if (head[1] > MOST || head[2] > MOST) return 5;
    int64_t at = (3 + head[0] + head[1] + head[2]) * 8;
    for (int64_t i = 0; i < head[1]; i++) {
        at = (at + 63) / 64 * 64;
        inputs[i] = start + at;
        at += bytes[i];
    }
    for (int64_t i = 0; i < head[2]; i++) outputs[i] = malloc((size_t)bytes[head[1] + i] + 1);
    if (function(sizes, inputs, outputs, NULL) != 0) return 6;
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return printf("%.9f\n", (double)now.tv_sec + 1e-9 * (double)now.tv_nsec) < 0;
}
