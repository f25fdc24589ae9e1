/* Workspaces: each function keeps a few for its next calls. The GIL guards the list.
 *
 * A call takes a block off the list and owns it until it gives it back, so calls in several
 * threads never share one. At most KEPT_WORKSPACES blocks of at most KEPT_BYTES each are kept.
 */
#include "core.h"

static const size_t ALIGNMENT = 64;
static const size_t KEPT_BYTES = (size_t)64 << 20;

/* A block aligned to 64 bytes; the address of the allocation stands in the word before it. */
static void *allocate(size_t bytes)
{
    if (bytes > SIZE_MAX - 2 * ALIGNMENT)
        return NULL;
    char *raw = PyMem_RawMalloc(bytes + 2 * ALIGNMENT);
    if (raw == NULL)
        return NULL;
    char *block = raw + ALIGNMENT;
    block += ALIGNMENT - (uintptr_t)block % ALIGNMENT;
    memcpy(block - sizeof raw, &raw, sizeof raw);
    return block;
}

static void release(void *block)
{
    char *raw;
    memcpy(&raw, (char *)block - sizeof raw, sizeof raw);
    PyMem_RawFree(raw);
}

/* A workspace of at least `bytes`; `*taken` is its size. NULL: out of memory, no exception set. */
void *workspace_take(WorkspaceList *list, size_t bytes, size_t *taken)
{
    for (int i = list->count - 1; i >= 0; i--) {
        if (list->bytes[i] < bytes)
            continue;
        void *block = list->block[i];
        *taken = list->bytes[i];
        list->count--;
        list->block[i] = list->block[list->count];
        list->bytes[i] = list->bytes[list->count];
        return block;
    }
    *taken = bytes;
    return allocate(bytes);
}

/* Keep the workspace for a later call; where the list is full, the smallest block goes. */
void workspace_give(WorkspaceList *list, void *block, size_t bytes)
{
    if (bytes > KEPT_BYTES) {
        release(block);
        return;
    }
    if (list->count < KEPT_WORKSPACES) {
        list->block[list->count] = block;
        list->bytes[list->count++] = bytes;
        return;
    }
    int smallest = 0;
    for (int i = 1; i < list->count; i++)
        if (list->bytes[i] < list->bytes[smallest])
            smallest = i;
    if (list->bytes[smallest] >= bytes) {
        release(block);
        return;
    }
    release(list->block[smallest]);
    list->block[smallest] = block;
    list->bytes[smallest] = bytes;
}

void workspace_free_all(WorkspaceList *list)
{
    while (list->count > 0)
        release(list->block[--list->count]);
}
