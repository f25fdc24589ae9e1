/* BoundCall: a native function together with its arguments, read and checked once.
 *
 * A call runs the native code on the memory that the arrays have then, and returns the arrays of
 * the results. What could not be read in place at each call cannot be bound.
 */
#include "core.h"

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    NativeFunction *function;
    Frame frame;     /* `owned` holds the inputs, `results` the outputs */
    int64_t *words;  /* of the frame */
    int64_t needed;  /* bytes of workspace */
    PyObject *out;   /* what a call returns: an array, or a tuple of arrays */
} BoundCall;

static bool has_moved(PyArrayObject *array, const void *data, size_t bytes, int itemsize)
{
    return PyArray_DATA(array) != data || array_bytes(array, itemsize) != bytes;
}

/* Whether all arrays still have the memory that was bound; an exception where one has not. */
static bool is_in_place(BoundCall *self)
{
    const Plan *plan = &self->function->plan;
    const Frame *frame = &self->frame;
    for (Py_ssize_t i = 0; i < plan->inputs; i++) {
        PyArrayObject *array = frame->arrays[i];
        if (array != NULL
            && has_moved(array, frame->inputs[i], frame->input_bytes[i], plan->input[i].itemsize)) {
            raise_error(self->function, "moved_input", "(n)", i);
            return false;
        }
    }
    for (Py_ssize_t j = 0; j < plan->outputs; j++) {
        PyArrayObject *array = frame->results[j];
        const size_t bytes = (size_t)(frame->extents[j].last - frame->extents[j].first);
        if (!PyArray_ISWRITEABLE(array)
            || has_moved(array, frame->outputs[j], bytes, plan->output[j].itemsize)) {
            raise_error(self->function, "moved_output", "(n)", j);
            return false;
        }
    }
    return true;
}

static PyObject *bound_call_call(PyObject *object, PyObject *const *args, size_t nargsf,
                                 PyObject *kwnames)
{
    BoundCall *self = (BoundCall *)object;
    if (PyVectorcall_NARGS(nargsf) > 0 || (kwnames != NULL && PyTuple_GET_SIZE(kwnames) > 0)) {
        raise_error(self->function, "bound_arguments", "()");
        return NULL;
    }
    if (!is_in_place(self) || frame_run(self->function, &self->frame, self->needed) < 0)
        return NULL;
    return Py_NewRef(self->out);
}

/* Hold the input arrays; -1 and an exception where one had to be converted. Numbers may be. */
static int keep_inputs(BoundCall *self, const Plan *plan)
{
    Frame *frame = &self->frame;
    for (Py_ssize_t i = 0; i < plan->inputs; i++) {
        PyObject *given = frame->arguments[i];
        if (frame->owned[i] == NULL) {
            frame->owned[i] = Py_XNewRef((PyObject *)frame->arrays[i]);
        } else if (plan->input[i].rank > 0 || PyArray_Check(given)) {
            raise_error(self->function, "unbound_input", "(nO)", i, given);
            return -1;
        }
    }
    return 0;
}

/* Hold the arrays that calls write, new ones where none are given. */
static int keep_outputs(BoundCall *self, const Plan *plan, PyObject *given)
{
    Frame *frame = &self->frame;
    PyObject *out = given != NULL && given != Py_None ? Py_NewRef(given)
                                                      : outputs_new(self->function, frame);
    if (out == NULL)
        return -1;
    const int failed = outputs_prepare(self->function, frame, out);
    Py_DECREF(out);
    if (failed)
        return -1;
    for (Py_ssize_t j = 0; j < plan->outputs; j++)
        if (frame->targets[j] != frame->results[j] || frame->results[j] == NULL) {
            raise_error(self->function, "unbound_output", "(n)", j);
            return -1;
        }
    if (plan->outputs == 1) {
        self->out = Py_NewRef((PyObject *)frame->results[0]);
        return 0;
    }
    self->out = PyTuple_New(plan->outputs);
    for (Py_ssize_t j = 0; self->out != NULL && j < plan->outputs; j++)
        PyTuple_SET_ITEM(self->out, j, Py_NewRef((PyObject *)frame->results[j]));
    return self->out == NULL ? -1 : 0;
}

static int bind(BoundCall *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    NativeFunction *function = self->function;
    const Plan *plan = &function->plan;
    PyObject *out = NULL;
    self->words = PyMem_Calloc(frame_words(plan), sizeof *self->words);
    if (self->words == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    frame_place(&self->frame, plan, self->words);
    if (frame_read(function, &self->frame, args, nargs, kwnames, &out) < 0
        || keep_inputs(self, plan) < 0 || keep_outputs(self, plan, out) < 0)
        return -1;
    self->needed = function->workspace(self->frame.sizes);
    self->frame.arguments = NULL; /* the caller's */
    return 0;
}

/* NativeFunction.bind(*args, out=None, **kwargs). */
PyObject *bound_call_new(PyObject *function, PyTypeObject *defining, PyObject *const *args,
                         Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *module = PyType_GetModule(defining);
    PyObject *type = module == NULL ? NULL : PyObject_GetAttrString(module, "BoundCall");
    if (type == NULL)
        return NULL;
    BoundCall *self = (BoundCall *)((PyTypeObject *)type)->tp_alloc((PyTypeObject *)type, 0);
    Py_DECREF(type);
    if (self == NULL)
        return NULL;
    self->vectorcall = bound_call_call;
    self->function = (NativeFunction *)Py_NewRef(function);
    if (bind(self, args, nargs, kwnames) < 0)
        Py_CLEAR(self);
    return (PyObject *)self;
}

static void bound_call_dealloc(BoundCall *self)
{
    PyTypeObject *type = Py_TYPE(self);
    if (self->words != NULL)
        frame_clear(&self->frame, &self->function->plan);
    PyMem_Free(self->words);
    Py_XDECREF(self->out);
    Py_DECREF(self->function);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *bound_call_repr(BoundCall *self)
{
    return PyUnicode_FromFormat("<gradc call of %S>", self->function->entry);
}

static PyMemberDef bound_call_members[] = {
    {"out", T_OBJECT_EX, offsetof(BoundCall, out), READONLY,
     "What a call returns: the array, or the tuple of arrays, that it writes to."},
    {"function", T_OBJECT_EX, offsetof(BoundCall, function), READONLY, "The function."},
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(BoundCall, vectorcall), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot bound_call_slots[] = {
    {Py_tp_doc, "A function bound to its arguments: call it without any."},
    {Py_tp_dealloc, bound_call_dealloc},
    {Py_tp_repr, bound_call_repr},
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_members, bound_call_members},
    {0, NULL},
};

PyType_Spec bound_call_spec = {
    .name = "gradc.runtime._core.BoundCall",
    .basicsize = sizeof(BoundCall),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_IMMUTABLETYPE
             | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = bound_call_slots,
};
