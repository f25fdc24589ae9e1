/* The call path: order the arguments, read them, bind sizes, check, run, wrap the results. */
#include "core.h"

#include <time.h>

/* Releasing the GIL costs about 50 ns. It pays where a call moves this many bytes, or where a run
 * that was timed took this long: every call whose number is a power of two is timed, then one in
 * 1024. The first run, of which nothing is known, releases it. */
static const size_t RELEASE_BYTES = 16384;
static const int64_t RELEASE_NANOSECONDS = 3000;

static int64_t nanoseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int32_t run(NativeFunction *self, Frame *frame, void *workspace, size_t bytes)
{
    const uint64_t number = self->calls++;
    const bool is_timed = (number & (number - 1)) == 0 || number % 1024 == 0;
    if (!is_timed && !self->is_slow && frame->bytes + bytes < RELEASE_BYTES)
        return self->call(frame->sizes, frame->inputs, frame->outputs, workspace);
    int32_t status;
    int64_t elapsed;
    Py_BEGIN_ALLOW_THREADS
    const int64_t start = is_timed ? nanoseconds() : 0;
    status = self->call(frame->sizes, frame->inputs, frame->outputs, workspace);
    elapsed = is_timed ? nanoseconds() - start : 0;
    Py_END_ALLOW_THREADS
    if (is_timed && number > 0)
        self->is_slow = elapsed >= RELEASE_NANOSECONDS;
    return status;
}

static PyObject *sizes_tuple(NativeFunction *self, const Frame *frame)
{
    PyObject *tuple = PyTuple_New(self->plan.sizes);
    for (Py_ssize_t i = 0; tuple != NULL && i < self->plan.sizes; i++) {
        PyObject *value = PyLong_FromLongLong(frame->sizes[i]);
        if (value == NULL)
            Py_CLEAR(tuple);
        else
            PyTuple_SET_ITEM(tuple, i, value);
    }
    return tuple;
}

/* Raise an error whose last arguments are `i` and the values of the sizes. */
void raise_sizes(NativeFunction *self, const Frame *frame, const char *name, Py_ssize_t i)
{
    PyObject *sizes = sizes_tuple(self, frame);
    if (sizes != NULL)
        raise_error(self, name, "(nN)", i, sizes);
}

/* Run the native code with `needed` bytes of workspace (what self->workspace says of the sizes). */
int frame_run(NativeFunction *self, Frame *frame, int64_t needed)
{
    void *workspace = NULL;
    size_t taken = 0;
    if (needed != 0) {
        if (needed > 0)
            workspace = workspace_take(&self->workspaces, (size_t)needed, &taken);
        if (workspace == NULL) {
            raise_sizes(self, frame, "no_workspace", (Py_ssize_t)needed);
            return -1;
        }
    }
    const int32_t status = run(self, frame, workspace, (size_t)needed);
    if (workspace != NULL)
        workspace_give(&self->workspaces, workspace, taken);
    if (status == GRADC_OK)
        return 0;
    raise_sizes(self, frame, "failed_status", status);
    return -1;
}

/* ---- sizes ---- */

/* Solve dim(size) = length, where dim is a*size + b for the sizes known so far. */
static bool solve(const Step *step, int64_t *sizes, int64_t length)
{
    int64_t b, next, a, difference;
    int64_t *size = &sizes[step->solve];
    *size = 0;
    if (!dim_value(&step->dim, sizes, &b))
        return false;
    *size = 1;
    if (!dim_value(&step->dim, sizes, &next) || __builtin_sub_overflow(next, b, &a) || a == 0)
        return false;
    if (__builtin_sub_overflow(length, b, &difference) || difference % a != 0)
        return false;
    *size = difference / a;
    return *size >= 0;
}

static bool step_holds(const Step *step, int64_t *sizes, int64_t length)
{
    if (step->solve < 0) {
        int64_t value;
        return dim_value(&step->dim, sizes, &value) && value == length;
    }
    if (step->dim.count == 1) {
        sizes[step->solve] = length;
        return true;
    }
    return solve(step, sizes, length);
}

static void raise_wrong_size(NativeFunction *self, const Frame *frame, Py_ssize_t step)
{
    PyObject *shapes = PyTuple_New(self->plan.inputs);
    for (Py_ssize_t i = 0; shapes != NULL && i < self->plan.inputs; i++) {
        PyObject *shape = frame->arrays[i] == NULL
                              ? PyTuple_New(0)
                              : PyObject_GetAttrString((PyObject *)frame->arrays[i], "shape");
        if (shape == NULL)
            Py_CLEAR(shapes);
        else
            PyTuple_SET_ITEM(shapes, i, shape);
    }
    if (shapes != NULL)
        raise_error(self, "wrong_size", "(nN)", step, shapes);
}

static int bind_sizes(NativeFunction *self, Frame *frame)
{
    const Plan *plan = &self->plan;
    for (Py_ssize_t i = 0; i < plan->steps; i++) {
        const Step *step = &plan->step[i];
        const int64_t length = PyArray_DIM(frame->arrays[step->input], step->axis);
        if (!step_holds(step, frame->sizes, length)) {
            raise_wrong_size(self, frame, i);
            return -1;
        }
    }
    for (Py_ssize_t i = 0; i < plan->requires; i++) {
        int64_t value;
        const Requirement *requirement = &plan->requirement[i];
        const bool known = dim_value(&requirement->dim, frame->sizes, &value);
        if (!known || (requirement->is_zero ? value != 0 : value < 0)) {
            raise_sizes(self, frame, "failed_requirement", i);
            return -1;
        }
    }
    return 0;
}

/* ---- arguments ---- */

static Py_ssize_t parameter_index(NativeFunction *self, PyObject *name)
{
    const Py_ssize_t count = self->plan.inputs;
    for (Py_ssize_t i = 0; i < count; i++)
        if (PyTuple_GET_ITEM(self->parameters, i) == name)
            return i;
    if (PyUnicode_CHECK_INTERNED(name))
        return -1;
    for (Py_ssize_t i = 0; i < count; i++)
        if (PyUnicode_Compare(PyTuple_GET_ITEM(self->parameters, i), name) == 0)
            return i;
    return -1;
}

static bool is_out(NativeFunction *self, PyObject *name)
{
    return name == self->out_name
           || (self->out_name != NULL && !PyUnicode_CHECK_INTERNED(name)
               && PyUnicode_Compare(self->out_name, name) == 0);
}

/* Put the arguments in the parameters' order, `out` aside; -1 and an exception where one is
 * missing, unknown or given twice. */
static int order_by_name(NativeFunction *self, Frame *frame, PyObject *const *args,
                           Py_ssize_t count, PyObject *kwnames, PyObject **out)
{
    const Py_ssize_t inputs = self->plan.inputs;
    bool is_right = count <= inputs;
    for (Py_ssize_t i = 0; i < count && i < inputs; i++)
        frame->ordered[i] = args[i];
    const Py_ssize_t keywords = kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames);
    for (Py_ssize_t k = 0; k < keywords; k++) {
        PyObject *name = PyTuple_GET_ITEM(kwnames, k);
        const Py_ssize_t i = parameter_index(self, name);
        if (i >= 0 && frame->ordered[i] == NULL)
            frame->ordered[i] = args[count + k];
        else if (i < 0 && is_out(self, name))
            *out = args[count + k];
        else
            is_right = false;
    }
    for (Py_ssize_t i = 0; i < inputs; i++)
        is_right = is_right && frame->ordered[i] != NULL;
    frame->arguments = frame->ordered;
    if (is_right)
        return 0;
    raise_error(self, "wrong_arguments", "(nO)", count, kwnames == NULL ? Py_None : kwnames);
    return -1;
}

/* The same, without a copy where all inputs come by position. */
static int order_arguments(NativeFunction *self, Frame *frame, PyObject *const *args,
                           Py_ssize_t count, PyObject *kwnames, PyObject **out)
{
    const Py_ssize_t keywords = kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames);
    const bool has_out = keywords == 1 && is_out(self, PyTuple_GET_ITEM(kwnames, 0));
    if (count != self->plan.inputs || (keywords > 0 && !has_out))
        return order_by_name(self, frame, args, count, kwnames, out);
    frame->arguments = args;
    *out = has_out ? args[count] : NULL;
    return 0;
}

size_t frame_words(const Plan *plan)
{
    return (size_t)(plan->sizes + 6 * plan->inputs + 6 * plan->outputs) + 1;
}

/* Divide zeroed words, as many as frame_words says, among a frame's arrays. */
void frame_place(Frame *frame, const Plan *plan, int64_t *words)
{
    frame->sizes = words;
    frame->input_scalars = words += plan->sizes;
    frame->output_scalars = words += plan->inputs;
    frame->inputs = (const void **)(words += plan->outputs);
    frame->outputs = (void **)(words += plan->inputs);
    frame->arrays = (PyArrayObject **)(words += plan->outputs);
    frame->input_bytes = (size_t *)(words += plan->inputs);
    frame->owned = (PyObject **)(words += plan->inputs);
    frame->results = (PyArrayObject **)(words += plan->inputs);
    frame->targets = (PyArrayObject **)(words += plan->outputs);
    frame->extents = (Extent *)(words += plan->outputs);
    frame->ordered = (PyObject **)(words + 2 * plan->outputs);
    frame->bytes = 0;
    frame->in_place = false;
}

/* Order and read the arguments, and solve for the sizes; -1 and an exception where they are wrong. */
int frame_read(NativeFunction *self, Frame *frame, PyObject *const *args, Py_ssize_t count,
               PyObject *kwnames, PyObject **out)
{
    if (order_arguments(self, frame, args, count, kwnames, out) < 0)
        return -1;
    for (Py_ssize_t i = 0; i < self->plan.inputs; i++)
        if (input_read(self, frame, i) < 0)
            return -1;
    return bind_sizes(self, frame);
}

/* Give back what the frame owns. */
void frame_clear(Frame *frame, const Plan *plan)
{
    for (Py_ssize_t i = 0; i < plan->inputs; i++)
        Py_XDECREF(frame->owned[i]);
    for (Py_ssize_t j = 0; j < plan->outputs; j++)
        Py_XDECREF(frame->results[j]);
}

PyObject *native_function_call(PyObject *object, PyObject *const *args, size_t nargsf,
                               PyObject *kwnames)
{
    enum { WORDS = 128 };
    NativeFunction *self = (NativeFunction *)object;
    const Plan *plan = &self->plan;
    const size_t count = frame_words(plan);
    int64_t here[WORDS];
    int64_t *words = count <= WORDS ? here : PyMem_Malloc(count * sizeof *words);
    if (words == NULL)
        return PyErr_NoMemory();
    memset(words, 0, count * sizeof *words);
    Frame frame;
    frame_place(&frame, plan, words);
    PyObject *out = NULL, *result = NULL;
    if (frame_read(self, &frame, args, PyVectorcall_NARGS(nargsf), kwnames, &out) == 0
        && outputs_prepare(self, &frame, out) == 0
        && frame_run(self, &frame, self->workspace(frame.sizes)) == 0)
        result = outputs_finish(self, &frame, out);
    frame_clear(&frame, plan);
    if (words != here)
        PyMem_Free(words);
    return result;
}
