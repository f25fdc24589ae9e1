/* Workspaces: each function keeps a few for its next calls. The GIL guards the list.
 *
 * A call takes a block off the list and owns it until it gives it back, so calls in several
 * threads never share one. At most KEPT_WORKSPACES blocks are kept, until `release_workspace` or
 * the function's end. A page that is touched for the first time costs about as much as 4 KiB of
 * work on it: so blocks from LARGE_BYTES up are mapped in pages of 2 MiB where the system has them,
 * and those above LAZY_BYTES, which matter to others, are kept as memory that the system may take
 * back without asking (MADV_FREE: free of cost as long as nobody needs it).
 */
#include "core.h"

#include <sys/mman.h>

static const size_t ALIGNMENT = 64;
static const size_t HUGE_PAGE = (size_t)2 << 20;
static const size_t LARGE_BYTES = (size_t)4 << 20;
static const size_t LAZY_BYTES = (size_t)64 << 20;

/* A block of whole pages of 2 MiB, `*bytes` rounded up to them. */
static void *map(size_t *bytes)
{
    if (*bytes > SIZE_MAX - 2 * HUGE_PAGE)
        return NULL;
    const size_t length = (*bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    const size_t mapped = length + HUGE_PAGE;
    char *raw = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (raw == MAP_FAILED)
        return NULL;
    const size_t before = (HUGE_PAGE - (uintptr_t)raw % HUGE_PAGE) % HUGE_PAGE;
    char *block = raw + before;
    if (before > 0)
        munmap(raw, before);
    munmap(block + length, HUGE_PAGE - before);
#ifdef MADV_HUGEPAGE
    madvise(block, length, MADV_HUGEPAGE);
#endif
    PyTraceMalloc_Track(0, (uintptr_t)block, length);
    *bytes = length;
    return block;
}

/* A block aligned to 64 bytes; the address of the allocation stands in the word before it. */
static void *allocate(size_t bytes)
{
    char *raw = PyMem_RawMalloc(bytes + 2 * ALIGNMENT);
    if (raw == NULL)
        return NULL;
    char *block = raw + ALIGNMENT;
    block += ALIGNMENT - (uintptr_t)block % ALIGNMENT;
    memcpy(block - sizeof raw, &raw, sizeof raw);
    return block;
}

static void release(void *block, size_t bytes)
{
    if (bytes >= LARGE_BYTES) {
        PyTraceMalloc_Untrack(0, (uintptr_t)block);
        munmap(block, bytes);
        return;
    }
    char *raw;
    memcpy(&raw, (char *)block - sizeof raw, sizeof raw);
    PyMem_RawFree(raw);
}

/* Take block i off the list; `*bytes` is its size. */
static void *take(WorkspaceList *list, int i, size_t *bytes)
{
    void *block = list->block[i];
    *bytes = list->bytes[i];
    list->count--;
    list->block[i] = list->block[list->count];
    list->bytes[i] = list->bytes[list->count];
    return block;
}

static int smallest(const WorkspaceList *list)
{
    int found = 0;
    for (int i = 1; i < list->count; i++)
        if (list->bytes[i] < list->bytes[found])
            found = i;
    return found;
}

/* A workspace of at least `bytes`; `*taken` is its size. NULL: out of memory, no exception set.
 * Where the kept ones are too small, the new one takes the place of one of them. */
void *workspace_take(WorkspaceList *list, size_t bytes, size_t *taken)
{
    for (int i = list->count - 1; i >= 0; i--)
        if (list->bytes[i] >= bytes)
            return take(list, i, taken);
    if (list->count > 0) {
        void *block = take(list, smallest(list), taken);
        release(block, *taken);
    }
    *taken = bytes;
    return bytes >= LARGE_BYTES ? map(taken) : allocate(bytes);
}

/* Keep the workspace for a later call; where the list is full, the smallest block goes. */
void workspace_give(WorkspaceList *list, void *block, size_t bytes)
{
    if (list->count == KEPT_WORKSPACES) {
        const int least = smallest(list);
        if (list->bytes[least] >= bytes) {
            release(block, bytes);
            return;
        }
        size_t size;
        void *other = take(list, least, &size);
        release(other, size);
    }
#ifdef MADV_FREE
    if (bytes > LAZY_BYTES)
        madvise(block, bytes, MADV_FREE);
#endif
    list->block[list->count] = block;
    list->bytes[list->count++] = bytes;
}

void workspace_free_all(WorkspaceList *list)
{
    while (list->count > 0) {
        list->count--;
        release(list->block[list->count], list->bytes[list->count]);
    }
}
