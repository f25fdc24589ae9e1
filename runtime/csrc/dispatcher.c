/* Dispatcher: the base of callables that run a native function once there is one.
 *
 * A call goes straight to the native function. Before `attach`, and where the native function
 * raises TypeError, the method `fallback` of the subclass takes the call: it compiles, or builds a
 * graph, or raises.
 */
#include "core.h"

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    PyObject *native;   /* a NativeFunction, or NULL */
    bool makes_a_tuple; /* a single output is returned as a tuple of one */
} Dispatcher;

static PyObject *in_a_tuple(PyObject *result)
{
    PyObject *tuple = PyTuple_Pack(1, result);
    Py_DECREF(result);
    return tuple;
}

static PyObject *fall_back(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    PyObject *method = PyObject_GetAttrString(self, "fallback");
    if (method == NULL)
        return NULL;
    PyObject *result = PyObject_Vectorcall(method, args, PyVectorcall_NARGS(nargsf), kwnames);
    Py_DECREF(method);
    return result;
}

static PyObject *dispatcher_call(PyObject *object, PyObject *const *args, size_t nargsf,
                                 PyObject *kwnames)
{
    Dispatcher *self = (Dispatcher *)object;
    if (self->native == NULL)
        return fall_back(object, args, nargsf, kwnames);
    const bool makes_a_tuple = self->makes_a_tuple;
    PyObject *native = Py_NewRef(self->native);
    PyObject *result = native_function_call(native, args, nargsf, kwnames);
    Py_DECREF(native);
    if (result != NULL)
        return makes_a_tuple ? in_a_tuple(result) : result;
    if (!PyErr_ExceptionMatches(PyExc_TypeError))
        return NULL;
    PyErr_Clear();
    return fall_back(object, args, nargsf, kwnames);
}

static PyObject *dispatcher_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    Dispatcher *self = (Dispatcher *)type->tp_alloc(type, 0);
    if (self != NULL)
        self->vectorcall = dispatcher_call;
    return (PyObject *)self;
}

static int dispatcher_traverse(Dispatcher *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->native);
    return 0;
}

static int dispatcher_clear(Dispatcher *self)
{
    Py_CLEAR(self->native);
    return 0;
}

static void dispatcher_dealloc(Dispatcher *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Py_CLEAR(self->native);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *dispatcher_attach(PyObject *object, PyObject *args)
{
    Dispatcher *self = (Dispatcher *)object;
    PyObject *native;
    int makes_a_tuple;
    if (!PyArg_ParseTuple(args, "Op:attach", &native, &makes_a_tuple))
        return NULL;
    if (!is_native_function(native))
        return PyErr_Format(PyExc_TypeError, "attach takes a NativeFunction, not %s",
                            Py_TYPE(native)->tp_name);
    self->makes_a_tuple = makes_a_tuple && ((NativeFunction *)native)->plan.outputs == 1;
    Py_XSETREF(self->native, Py_NewRef(native));
    Py_RETURN_NONE;
}

/* Before Python 3.12 a class written in Python does not inherit the vectorcall protocol: a call
 * would make a tuple and a dict, and take them apart again. Where the class has no `__call__` of
 * its own, its objects are called as those of the base. */
static PyObject *dispatcher_init_subclass(PyObject *class, PyObject *unused)
{
    PyTypeObject *type = (PyTypeObject *)class;
    if (type->tp_call == PyVectorcall_Call
        && type->tp_vectorcall_offset == offsetof(Dispatcher, vectorcall))
        type->tp_flags |= Py_TPFLAGS_HAVE_VECTORCALL;
    Py_RETURN_NONE;
}

static PyMethodDef dispatcher_methods[] = {
    {"__init_subclass__", dispatcher_init_subclass, METH_NOARGS | METH_CLASS, NULL},
    {"attach", dispatcher_attach, METH_VARARGS,
     "attach(native, makes_a_tuple)\n--\n\nRun `native` from now on; `makes_a_tuple`: a single "
     "output is returned as a tuple of one."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef dispatcher_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(Dispatcher, vectorcall), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot dispatcher_slots[] = {
    {Py_tp_doc, "The base of callables that run a native function once one is attached.\n\n"
                "Before that, and where it raises TypeError, `fallback` takes the call."},
    {Py_tp_new, dispatcher_new},
    {Py_tp_dealloc, dispatcher_dealloc},
    {Py_tp_traverse, dispatcher_traverse},
    {Py_tp_clear, dispatcher_clear},
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_methods, dispatcher_methods},
    {Py_tp_members, dispatcher_members},
    {0, NULL},
};

PyType_Spec dispatcher_spec = {
    .name = "gradc.runtime._core.Dispatcher",
    .basicsize = sizeof(Dispatcher),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_VECTORCALL
             | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = dispatcher_slots,
};
