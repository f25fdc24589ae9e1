/* Outputs: new arrays, NumPy scalars for outputs without axes, or the caller's arrays (`out=`).
 *
 * An array of the caller's that is not contiguous, aligned and native, or that shares memory with
 * an input, is written through a temporary and filled after the call.
 */
#include "core.h"

static int shape_of(NativeFunction *self, const Frame *frame, Py_ssize_t j, npy_intp *shape)
{
    const Array *output = &self->plan.output[j];
    for (int axis = 0; axis < output->rank; axis++) {
        int64_t length;
        if (!dim_value(&output->shape[axis], frame->sizes, &length) || length < 0) {
            raise_sizes(self, frame, "bad_output", j);
            return -1;
        }
        shape[axis] = length;
    }
    return 0;
}

/* Whether native code may write into the target itself (it is contiguous when this is asked). */
static bool shares_no_input(NativeFunction *self, Frame *frame, Extent target)
{
    for (Py_ssize_t i = 0; i < self->plan.inputs; i++) {
        const char *input = frame->arrays[i] == NULL ? NULL : frame->inputs[i];
        if (input != NULL && target.first < input + frame->input_bytes[i] && input < target.last)
            return false;
    }
    return true;
}

static int check_target(NativeFunction *self, Py_ssize_t j, PyObject *object, npy_intp *shape)
{
    const Array *output = &self->plan.output[j];
    const char *fault = NULL;
    if (!PyArray_Check(object))
        fault = "kind";
    else if (!PyTypeNum_ISNUMBER(PyArray_TYPE((PyArrayObject *)object))
             && !PyTypeNum_ISBOOL(PyArray_TYPE((PyArrayObject *)object)))
        fault = "dtype";
    else if (!PyArray_EquivTypenums(PyArray_TYPE((PyArrayObject *)object), output->type_number))
        fault = "dtype";
    else if (PyArray_NDIM((PyArrayObject *)object) != output->rank
             || !PyArray_CompareLists(PyArray_DIMS((PyArrayObject *)object), shape, output->rank))
        fault = "shape";
    else if (!PyArray_ISWRITEABLE((PyArrayObject *)object))
        fault = "writeable";
    if (fault == NULL)
        return 0;
    PyObject *wanted = PyTuple_New(output->rank);
    for (int axis = 0; wanted != NULL && axis < output->rank; axis++) {
        PyObject *length = PyLong_FromSsize_t(shape[axis]);
        if (length == NULL)
            Py_CLEAR(wanted);
        else
            PyTuple_SET_ITEM(wanted, axis, length);
    }
    if (wanted != NULL)
        raise_error(self, "wrong_out", "(nOsN)", j, object, fault, wanted);
    return -1;
}

/* The usual case: the very type and shape, contiguous, aligned, native and writeable. */
static bool fits(const Array *output, PyObject *object, const npy_intp *shape)
{
    if (!PyArray_Check(object))
        return false;
    PyArrayObject *array = (PyArrayObject *)object;
    if (PyArray_TYPE(array) != output->type_number || PyArray_NDIM(array) != output->rank
        || !PyArray_ISCARRAY(array))
        return false;
    for (int axis = 0; axis < output->rank; axis++)
        if (PyArray_DIM(array, axis) != shape[axis])
            return false;
    return true;
}

static Extent extent_of(PyArrayObject *array)
{
    Extent extent = {PyArray_BYTES(array), PyArray_BYTES(array)};
    if (PyArray_SIZE(array) == 0)
        return extent;
    for (int axis = 0; axis < PyArray_NDIM(array); axis++) {
        const npy_intp reach = PyArray_STRIDE(array, axis) * (PyArray_DIM(array, axis) - 1);
        *(reach < 0 ? &extent.first : &extent.last) += reach;
    }
    extent.last += PyArray_ITEMSIZE(array);
    return extent;
}

/* Let the native code write to the caller's array, or remember to fill it after the call. */
static int use_target(NativeFunction *self, Frame *frame, Py_ssize_t j, PyObject *given,
                      npy_intp *shape)
{
    const Array *output = &self->plan.output[j];
    PyArrayObject *target = (PyArrayObject *)given;
    if (fits(output, given, shape)) {
        const char *first = PyArray_BYTES(target);
        frame->extents[j] = (Extent){first, first + array_bytes(target, output->itemsize)};
        if (shares_no_input(self, frame, frame->extents[j]))
            frame->results[j] = (PyArrayObject *)Py_NewRef(given);
    } else {
        if (check_target(self, j, given, shape) < 0)
            return -1;
        frame->extents[j] = extent_of(target);
    }
    frame->targets[j] = target;
    frame->in_place = frame->in_place && frame->results[j] != NULL;
    return 0;
}

static int output_prepare(NativeFunction *self, Frame *frame, Py_ssize_t j, PyObject *given)
{
    const Array *output = &self->plan.output[j];
    npy_intp shape[MAX_RANK];
    if (shape_of(self, frame, j, shape) < 0)
        return -1;
    if (given == NULL || given == Py_None) {
        frame->in_place = false;
        if (output->rank == 0) {
            frame->outputs[j] = &frame->output_scalars[j];
            return 0;
        }
    } else if (use_target(self, frame, j, given, shape) < 0) {
        return -1;
    }
    if (frame->results[j] == NULL) {
        frame->results[j] = (PyArrayObject *)PyArray_NewFromDescr(
            &PyArray_Type, (PyArray_Descr *)Py_NewRef(output->description), output->rank, shape,
            NULL, NULL, 0, NULL);
        if (frame->results[j] == NULL)
            return -1;
    }
    frame->outputs[j] = PyArray_DATA(frame->results[j]);
    frame->bytes += array_bytes(frame->results[j], output->itemsize);
    return 0;
}

/* Whether two targets have an element in common: 1 or 0; -1 and an exception. */
static int share_memory(Frame *frame, Py_ssize_t j, Py_ssize_t k)
{
    const Extent a = frame->extents[j], b = frame->extents[k];
    if (a.last <= b.first || b.last <= a.first)
        return 0;
    PyObject *numpy = PyImport_ImportModule("numpy");
    if (numpy == NULL)
        return -1;
    PyObject *shared = PyObject_CallMethod(numpy, "shares_memory", "OO", frame->targets[j],
                                           frame->targets[k]);
    Py_DECREF(numpy);
    if (shared == NULL)
        return -1;
    const int is_shared = PyObject_IsTrue(shared);
    Py_DECREF(shared);
    return is_shared;
}

/* No two arrays of `out=` may share memory: what they hold afterwards would depend on the order. */
static int check_distinct(NativeFunction *self, Frame *frame)
{
    for (Py_ssize_t j = 0; j < self->plan.outputs; j++) {
        for (Py_ssize_t k = j + 1; frame->targets[j] != NULL && k < self->plan.outputs; k++) {
            if (frame->targets[k] == NULL)
                continue;
            const int is_shared = share_memory(frame, j, k);
            if (is_shared > 0)
                raise_error(self, "shared_out", "(nn)", j, k);
            if (is_shared)
                return -1;
        }
    }
    return 0;
}

/* Find or make the memory of every output. `out` is NULL, None, an array, or a tuple. */
int outputs_prepare(NativeFunction *self, Frame *frame, PyObject *out)
{
    const Py_ssize_t count = self->plan.outputs;
    const bool is_tuple = out != NULL && PyTuple_Check(out);
    if (is_tuple ? PyTuple_GET_SIZE(out) != count
                 : out != NULL && out != Py_None && count != 1) {
        raise_error(self, "wrong_out_count", "(O)", out);
        return -1;
    }
    frame->in_place = out != NULL && PyTuple_CheckExact(out);
    for (Py_ssize_t j = 0; j < count; j++)
        if (output_prepare(self, frame, j, is_tuple ? PyTuple_GET_ITEM(out, j) : out) < 0)
            return -1;
    return out == NULL || count < 2 ? 0 : check_distinct(self, frame);
}

/* A new array for each output, as a tuple: one without axes where the output has none. */
PyObject *outputs_new(NativeFunction *self, const Frame *frame)
{
    PyObject *tuple = PyTuple_New(self->plan.outputs);
    for (Py_ssize_t j = 0; tuple != NULL && j < self->plan.outputs; j++) {
        const Array *output = &self->plan.output[j];
        npy_intp shape[MAX_RANK];
        PyObject *array = NULL;
        if (shape_of(self, frame, j, shape) == 0)
            array = PyArray_Zeros(output->rank, shape,
                                  (PyArray_Descr *)Py_NewRef(output->description), 0);
        if (array == NULL)
            Py_CLEAR(tuple);
        else
            PyTuple_SET_ITEM(tuple, j, array);
    }
    return tuple;
}

static PyObject *scalar_from(Element element, const void *slot)
{
    PyObject *scalar;
    switch (element) {
    case F64:
        if ((scalar = PyArrayScalar_New(Double)) != NULL)
            PyArrayScalar_ASSIGN(scalar, Double, *(const double *)slot);
        return scalar;
    case F32:
        if ((scalar = PyArrayScalar_New(Float)) != NULL)
            PyArrayScalar_ASSIGN(scalar, Float, *(const float *)slot);
        return scalar;
    case I64:
        if ((scalar = PyArrayScalar_New(Int64)) != NULL)
            PyArrayScalar_ASSIGN(scalar, Int64, *(const int64_t *)slot);
        return scalar;
    case I32:
        if ((scalar = PyArrayScalar_New(Int32)) != NULL)
            PyArrayScalar_ASSIGN(scalar, Int32, *(const int32_t *)slot);
        return scalar;
    default:
        return Py_NewRef(*(const npy_bool *)slot ? PyArrayScalar_True : PyArrayScalar_False);
    }
}

static PyObject *output_finish(NativeFunction *self, Frame *frame, Py_ssize_t j)
{
    PyArrayObject *result = frame->results[j], *target = frame->targets[j];
    if (result == NULL)
        return scalar_from(self->plan.output[j].element, &frame->output_scalars[j]);
    if (target == NULL || target == result)
        return Py_NewRef((PyObject *)result);
    return PyArray_CopyInto(target, result) < 0 ? NULL : Py_NewRef((PyObject *)target);
}

/* The call's value: the output, or the tuple of outputs where there is not exactly one (`out`
 * itself where it holds them all). */
PyObject *outputs_finish(NativeFunction *self, Frame *frame, PyObject *out)
{
    if (self->plan.outputs == 1)
        return output_finish(self, frame, 0);
    if (frame->in_place)
        return Py_NewRef(out);
    PyObject *tuple = PyTuple_New(self->plan.outputs);
    for (Py_ssize_t j = 0; tuple != NULL && j < self->plan.outputs; j++) {
        PyObject *output = output_finish(self, frame, j);
        if (output == NULL)
            Py_CLEAR(tuple);
        else
            PyTuple_SET_ITEM(tuple, j, output);
    }
    return tuple;
}
