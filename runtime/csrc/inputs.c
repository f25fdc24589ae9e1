/* Inputs: from Python objects to pointers.
 *
 * A NumPy array of the right dtype, native, aligned and C-contiguous is passed as it is; Python and
 * NumPy scalars for inputs without axes are stored without making an array. Everything else becomes
 * an array first: lists, other array types, strided, byte-swapped or misaligned arrays are copied.
 * An array's dtype must cast safely; Python numbers take the input's dtype where their kind fits.
 */
#include "core.h"

typedef enum { DONE, NOT_A_SCALAR, FAILED } Outcome;

static Outcome read_float(PyObject *object, double *value)
{
    if (PyFloat_CheckExact(object)) {
        *value = PyFloat_AS_DOUBLE(object);
        return DONE;
    }
    if (!PyLong_CheckExact(object))
        return NOT_A_SCALAR;
    *value = PyLong_AsDouble(object);
    return *value == -1.0 && PyErr_Occurred() ? FAILED : DONE;
}

static Outcome read_integer(PyObject *object, long long low, long long high, long long *value)
{
    if (!PyLong_CheckExact(object))
        return NOT_A_SCALAR;
    int overflow;
    *value = PyLong_AsLongLongAndOverflow(object, &overflow);
    if (overflow || *value < low || *value > high) {
        PyErr_SetString(PyExc_OverflowError, "the integer does not fit");
        return FAILED;
    }
    return DONE;
}

static Outcome read_scalar(Element element, PyObject *object, void *slot)
{
    double real;
    long long integer;
    Outcome outcome;
    switch (element) {
    case F64:
        if (PyArray_IsScalar(object, Double)) {
            *(double *)slot = PyArrayScalar_VAL(object, Double);
            return DONE;
        }
        return read_float(object, slot);
    case F32:
        if (PyArray_IsScalar(object, Float)) {
            *(float *)slot = PyArrayScalar_VAL(object, Float);
            return DONE;
        }
        outcome = read_float(object, &real);
        if (outcome == DONE)
            *(float *)slot = (float)real;
        return outcome;
    case I64:
        if (PyArray_IsScalar(object, Int64)) {
            *(int64_t *)slot = PyArrayScalar_VAL(object, Int64);
            return DONE;
        }
        outcome = read_integer(object, INT64_MIN, INT64_MAX, &integer);
        if (outcome == DONE)
            *(int64_t *)slot = integer;
        return outcome;
    case I32:
        if (PyArray_IsScalar(object, Int32)) {
            *(int32_t *)slot = PyArrayScalar_VAL(object, Int32);
            return DONE;
        }
        outcome = read_integer(object, INT32_MIN, INT32_MAX, &integer);
        if (outcome == DONE)
            *(int32_t *)slot = (int32_t)integer;
        return outcome;
    default:
        if (PyArray_IsScalar(object, Bool)) {
            *(npy_bool *)slot = PyArrayScalar_VAL(object, Bool);
            return DONE;
        }
        if (!PyBool_Check(object))
            return NOT_A_SCALAR;
        *(npy_bool *)slot = object == Py_True;
        return DONE;
    }
}

static bool is_python_number_or_list(PyObject *object)
{
    return PyList_Check(object) || PyTuple_Check(object) || PyLong_CheckExact(object)
           || PyFloat_CheckExact(object) || PyBool_Check(object);
}

/* The array as the native code wants it; steals `given`. */
static PyObject *convert(NativeFunction *self, Py_ssize_t i, PyArrayObject *given, PyObject *object)
{
    const Array *wanted = &self->plan.input[i];
    if (PyArray_NDIM(given) != wanted->rank) {
        raise_error(self, "wrong_rank", "(nO)", i, given);
        Py_DECREF(given);
        return NULL;
    }
    const bool is_weak = is_python_number_or_list(object);
    PyArray_Descr *type = PyArray_DescrFromType(wanted->type_number);
    const NPY_CASTING rule = is_weak ? NPY_SAME_KIND_CASTING : NPY_SAFE_CASTING;
    const bool is_empty_list = is_weak && PyArray_SIZE(given) == 0;
    if (!is_empty_list && !PyArray_CanCastTypeTo(PyArray_DESCR(given), type, rule)) {
        raise_error(self, "wrong_dtype", "(nOO)", i, given, object);
        Py_DECREF(type);
        Py_DECREF(given);
        return NULL;
    }
    /* A list is read again, as the wanted type, so that an integer that does not fit is noticed. */
    const int flags = NPY_ARRAY_CARRAY_RO | NPY_ARRAY_ENSUREARRAY;
    PyObject *array = is_weak && !is_empty_list
                          ? PyArray_FromAny(object, type, 0, 0, flags, NULL)
                          : PyArray_FromArray(given, type, flags | NPY_ARRAY_FORCECAST);
    Py_DECREF(given);
    if (array == NULL) {
        const bool is_overflow = PyErr_ExceptionMatches(PyExc_OverflowError);
        raise_error(self, is_overflow ? "out_of_range" : "not_an_array", "(nO)", i, object);
    }
    return array;
}

static void use_array(NativeFunction *self, Frame *frame, Py_ssize_t i, PyArrayObject *array)
{
    const size_t bytes = array_bytes(array, self->plan.input[i].itemsize);
    frame->arrays[i] = array;
    frame->inputs[i] = PyArray_DATA(array);
    frame->input_bytes[i] = bytes;
    frame->bytes += bytes;
}

static int read_slowly(NativeFunction *self, Frame *frame, Py_ssize_t i, PyObject *object)
{
    PyObject *given = PyArray_FromAny(object, NULL, 0, 0, 0, NULL);
    if (given == NULL) {
        raise_error(self, "not_an_array", "(nO)", i, object);
        return -1;
    }
    PyObject *array = convert(self, i, (PyArrayObject *)given, object);
    if (array == NULL)
        return -1;
    frame->owned[i] = array;
    use_array(self, frame, i, (PyArrayObject *)array);
    return 0;
}

/* Point frame->inputs[i] at the elements of argument i; -1 with an exception that names it. */
int input_read(NativeFunction *self, Frame *frame, Py_ssize_t i)
{
    PyObject *object = frame->arguments[i];
    const Array *wanted = &self->plan.input[i];
    if (wanted->rank == 0 && wanted->element == F64 && PyFloat_CheckExact(object)) {
        const double value = PyFloat_AS_DOUBLE(object);
        memcpy(&frame->input_scalars[i], &value, sizeof value);
        frame->inputs[i] = &frame->input_scalars[i];
        return 0;
    }
    if (PyArray_Check(object)) {
        PyArrayObject *array = (PyArrayObject *)object;
        if (PyArray_TYPE(array) == wanted->type_number && PyArray_NDIM(array) == wanted->rank
            && PyArray_ISCARRAY_RO(array)) {
            use_array(self, frame, i, array);
            return 0;
        }
        return read_slowly(self, frame, i, object);
    }
    if (wanted->rank != 0)
        return read_slowly(self, frame, i, object);
    frame->inputs[i] = &frame->input_scalars[i];
    switch (read_scalar(wanted->element, object, &frame->input_scalars[i])) {
    case DONE:
        return 0;
    case NOT_A_SCALAR:
        return read_slowly(self, frame, i, object);
    default:
        raise_error(self, "out_of_range", "(nO)", i, object);
        return -1;
    }
}
