/* What the files of gradc.runtime._core share. See docs/c_abi.md for the calling convention. */
#ifndef GRADC_CORE_H
#define GRADC_CORE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#define NPY_NO_DEPRECATED_API NPY_1_22_API_VERSION
#define PY_ARRAY_UNIQUE_SYMBOL gradc_ARRAY_API
#ifndef GRADC_IMPORTS_NUMPY
#define NO_IMPORT_ARRAY
#endif
#include <numpy/arrayobject.h>
#include <numpy/arrayscalars.h>

#include <stdbool.h>
#include <stdint.h>

#include "gradc.h"

/* ---- plans: what a call checks and computes before the native code runs (plan.c) ---- */

typedef enum { F64, F32, I64, I32, BOOL } Element;

/* One instruction of a dimension's postfix program; the numbers are those of manifest.py. */
typedef enum { PUSH, SIZE, ADD, SUB, MUL, FLOORDIV, NEG } DimOp;

enum { MAX_STACK = 32, MAX_RANK = 32 };

typedef struct {
    int64_t op;
    int64_t value; /* PUSH: the number; SIZE: which size */
} DimCode;

typedef struct {
    Py_ssize_t count;
    DimCode *code;
} Dim;

typedef struct {
    Element element;
    int type_number; /* NumPy's */
    int itemsize;
    int rank;
    Dim *shape;                 /* outputs only: inputs are checked by steps */
    PyArray_Descr *description; /* outputs only: NumPy's dtype of a new array */
} Array;

/* One axis of one input: it gives a size its value, or has to agree with known sizes. */
typedef struct {
    int input;
    int axis;
    int solve; /* the size that is solved for, or -1 */
    Dim dim;
} Step;

typedef struct {
    Dim dim;
    bool is_zero; /* the dimension must be 0; else it must not be negative */
} Requirement;

typedef struct {
    Py_ssize_t sizes, inputs, outputs, steps, requires;
    Array *input;
    Array *output;
    Step *step;
    Requirement *requirement;
} Plan;

int plan_read(Plan *plan, PyObject *tuple);
void plan_free(Plan *plan);
bool dim_run(const Dim *dim, const int64_t *sizes, int64_t *value);

/* Evaluate a dimension; false where it overflows 64 bits or divides by zero. */
static inline bool dim_value(const Dim *dim, const int64_t *sizes, int64_t *value)
{
    if (dim->count != 1)
        return dim_run(dim, sizes, value);
    const DimCode only = dim->code[0];
    *value = only.op == PUSH ? only.value : sizes[only.value];
    return true;
}

static inline size_t array_bytes(PyArrayObject *array, int itemsize)
{
    size_t bytes = (size_t)itemsize;
    for (int axis = 0; axis < PyArray_NDIM(array); axis++)
        bytes *= (size_t)PyArray_DIM(array, axis);
    return bytes;
}

/* ---- workspaces (workspace.c) ---- */

enum { KEPT_WORKSPACES = 4 };

typedef struct {
    void *block[KEPT_WORKSPACES];
    size_t bytes[KEPT_WORKSPACES];
    int count;
} WorkspaceList;

void *workspace_take(WorkspaceList *list, size_t bytes, size_t *taken);
void workspace_give(WorkspaceList *list, void *block, size_t bytes);
void workspace_free_all(WorkspaceList *list);

/* ---- native functions (native_function.c, call.c, bound_call.c, dispatcher.c) ---- */

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    gradc_call call;
    gradc_workspace workspace;
    Plan plan;
    WorkspaceList workspaces;
    PyObject *entry;      /* the FunctionEntry of the manifest */
    PyObject *keep;       /* what the addresses live in */
    PyObject *parameters; /* interned names of the inputs, a tuple */
    PyObject *out_name;   /* "out", interned; NULL if an input has that name */
    PyObject *weakrefs;
    uint64_t calls;
    bool is_slow; /* a sampled run took long enough to be worth releasing the GIL */
} NativeFunction;

/* The addresses that an array's elements lie between: [first, last). */
typedef struct {
    const char *first, *last;
} Extent;

/* The state of one call; all arrays live in one block of words. */
typedef struct {
    int64_t *sizes;
    const void **inputs;
    void **outputs;
    int64_t *input_scalars;
    int64_t *output_scalars;
    PyObject *const *arguments; /* borrowed, one an input */
    PyArrayObject **arrays;     /* one an input, or NULL for a scalar: borrowed or in `owned` */
    size_t *input_bytes;        /* of `arrays` */
    PyObject **owned;           /* converted inputs */
    PyArrayObject **results;    /* one an output: owned; NULL for what becomes a NumPy scalar */
    PyArrayObject **targets;    /* one an output: borrowed from `out=`, or NULL */
    Extent *extents;            /* of `targets` */
    PyObject **ordered;         /* where arguments that come by name are put in order */
    size_t bytes;               /* of all inputs and outputs */
    bool in_place;              /* every output is written to its target by the native code */
} Frame;

size_t frame_words(const Plan *plan);
void frame_place(Frame *frame, const Plan *plan, int64_t *words);
int frame_read(NativeFunction *self, Frame *frame, PyObject *const *args, Py_ssize_t count,
               PyObject *kwnames, PyObject **out);
int frame_run(NativeFunction *self, Frame *frame, int64_t needed);
void frame_clear(Frame *frame, const Plan *plan);

extern PyType_Spec native_function_spec;
extern PyType_Spec bound_call_spec;
extern PyType_Spec library_spec;
extern PyType_Spec dispatcher_spec;

PyObject *native_function_call(PyObject *self, PyObject *const *args, size_t nargsf,
                               PyObject *kwnames);
bool is_native_function(PyObject *object);
int input_read(NativeFunction *self, Frame *frame, Py_ssize_t i);
int outputs_prepare(NativeFunction *self, Frame *frame, PyObject *out);
PyObject *outputs_finish(NativeFunction *self, Frame *frame, PyObject *out);
PyObject *outputs_new(NativeFunction *self, const Frame *frame);
PyObject *bound_call_new(PyObject *self, PyTypeObject *defining, PyObject *const *args,
                         Py_ssize_t nargs, PyObject *kwnames);

/* Raise what `gradc.runtime.errors.<name>(entry, ...)` returns; the format is Py_BuildValue's. */
void raise_error(NativeFunction *self, const char *name, const char *format, ...);
void raise_sizes(NativeFunction *self, const Frame *frame, const char *name, Py_ssize_t i);

#endif
