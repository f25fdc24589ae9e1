/* What every library made by gradc has in common: statuses, and the generic form of a call.
 *
 * A library's own header (written beside it by `gradc build`) declares its functions with their
 * names and shapes and needs nothing else. This header serves generic callers: foreign function
 * interfaces and loaders, that find `gradc_call_NAME` and `gradc_workspace_NAME` by name.
 */
#ifndef GRADC_H
#define GRADC_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The version of this interface; a library's manifest names the one it was built for. */
#define GRADC_ABI_VERSION 1

/* What a call returns. A negative status -1 - i: requirement i of the manifest does not hold. */
#ifndef GRADC_STATUS
#define GRADC_STATUS
enum {
    GRADC_OK = 0,
    GRADC_OUT_OF_MEMORY = 1,      /* the workspace could not be allocated, or is beyond 64 bits */
    GRADC_NEGATIVE_SIZE = 2,      /* a size is negative */
    GRADC_INDEX_OUT_OF_RANGE = 3, /* an index array holds an index outside its axis */
    GRADC_EXTERNAL = 4            /* an external function reported a failure */
};
#endif

/* `gradc_call_NAME`: sizes, inputs and outputs in the manifest's order, everything by pointer,
 * scalars too. An output that is NULL is not wanted; a workspace that is NULL is allocated for
 * the call, else it holds `gradc_workspace_NAME(sizes)` bytes (of any alignment). Outputs must not
 * overlap inputs, the workspace or each other; this is not checked. Re-entrant. */
typedef int32_t (*gradc_call)(const int64_t *sizes, const void *const *inputs,
                              void *const *outputs, void *workspace);

/* `gradc_workspace_NAME`: the bytes of workspace that a call with these sizes needs. */
typedef int64_t (*gradc_workspace)(const int64_t *sizes);

#ifdef __cplusplus
}
#endif

#endif
