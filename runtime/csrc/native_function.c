/* NativeFunction: the type of a compiled function, as a Python object. */
#include "core.h"

static PyObject *module_call(const char *module_name, const char *name, PyObject *args)
{
    PyObject *module = PyImport_ImportModule(module_name);
    if (module == NULL)
        return NULL;
    PyObject *function = PyObject_GetAttrString(module, name);
    Py_DECREF(module);
    if (function == NULL)
        return NULL;
    PyObject *result = PyObject_CallObject(function, args);
    Py_DECREF(function);
    return result;
}

/* Set the exception that gradc.runtime.errors makes; a pending one becomes its cause. */
void raise_error(NativeFunction *self, const char *name, const char *format, ...)
{
    PyObject *type, *cause, *traceback;
    PyErr_Fetch(&type, &cause, &traceback);
    PyErr_NormalizeException(&type, &cause, &traceback);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    va_list values;
    va_start(values, format);
    PyObject *rest = Py_VaBuildValue(format, values);
    va_end(values);
    PyObject *head = rest == NULL ? NULL : PyTuple_Pack(1, self->entry);
    PyObject *args = head == NULL ? NULL : PySequence_Concat(head, rest);
    PyObject *error = args == NULL ? NULL : module_call("gradc.runtime.errors", name, args);
    Py_XDECREF(rest);
    Py_XDECREF(head);
    Py_XDECREF(args);
    if (error == NULL) {
        Py_XDECREF(cause);
        return;
    }
    if (cause != NULL)
        PyException_SetCause(error, cause);
    PyErr_SetObject((PyObject *)Py_TYPE(error), error);
    Py_DECREF(error);
}

static PyObject *interned_names(PyObject *entry)
{
    PyObject *names = PyObject_GetAttrString(entry, "parameter_names");
    if (names == NULL)
        return NULL;
    PyObject *tuple = PySequence_Tuple(names);
    Py_DECREF(names);
    for (Py_ssize_t i = 0; tuple != NULL && i < PyTuple_GET_SIZE(tuple); i++) {
        PyObject *name = Py_NewRef(PyTuple_GET_ITEM(tuple, i));
        PyUnicode_InternInPlace(&name);
        PyObject *old = PyTuple_GET_ITEM(tuple, i);
        PyTuple_SET_ITEM(tuple, i, name);
        Py_DECREF(old);
    }
    return tuple;
}

/* The name of the argument that takes the outputs' memory; a parameter of that name hides it. */
static int out_name(NativeFunction *self)
{
    self->out_name = PyUnicode_InternFromString("out");
    if (self->out_name == NULL)
        return -1;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(self->parameters); i++)
        if (PyTuple_GET_ITEM(self->parameters, i) == self->out_name)
            Py_CLEAR(self->out_name);
    return 0;
}

static int plan_from_entry(Plan *plan, PyObject *entry)
{
    PyObject *tuple = PyObject_CallMethod(entry, "plan", NULL);
    if (tuple == NULL)
        return -1;
    if (!PyTuple_Check(tuple)) {
        PyErr_SetString(PyExc_TypeError, "plan() returns a tuple");
        Py_DECREF(tuple);
        return -1;
    }
    const int status = plan_read(plan, tuple);
    Py_DECREF(tuple);
    return status;
}

static PyObject *function_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"call", "workspace", "entry", "keep", NULL};
    Py_ssize_t call, workspace;
    PyObject *entry, *keep = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "nnO|O:NativeFunction", names, &call,
                                     &workspace, &entry, &keep))
        return NULL;
    if (call == 0 || workspace == 0) {
        PyErr_SetString(PyExc_ValueError, "an address is not 0");
        return NULL;
    }
    NativeFunction *self = (NativeFunction *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->vectorcall = native_function_call;
    self->call = (gradc_call)(uintptr_t)call;
    self->workspace = (gradc_workspace)(uintptr_t)workspace;
    self->entry = Py_NewRef(entry);
    self->keep = Py_NewRef(keep);
    self->parameters = interned_names(entry);
    if (self->parameters == NULL || out_name(self) < 0
        || plan_from_entry(&self->plan, entry) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    if (PyTuple_GET_SIZE(self->parameters) != self->plan.inputs) {
        PyErr_SetString(PyExc_ValueError, "parameter_names and plan() disagree");
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static int function_traverse(NativeFunction *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->entry);
    Py_VISIT(self->keep);
    return 0;
}

/* The entry and `keep` stay until the end: a function that is still called must not lose them. */
static void function_dealloc(NativeFunction *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (self->weakrefs != NULL)
        PyObject_ClearWeakRefs((PyObject *)self);
    workspace_free_all(&self->workspaces);
    plan_free(&self->plan);
    Py_XDECREF(self->parameters);
    Py_XDECREF(self->out_name);
    Py_XDECREF(self->entry);
    Py_XDECREF(self->keep);
    type->tp_free(self);
    Py_DECREF(type);
}

/* The type is final, so its own deallocator tells its objects. */
bool is_native_function(PyObject *object)
{
    return Py_TYPE(object)->tp_dealloc == (destructor)function_dealloc;
}

static PyObject *function_repr(NativeFunction *self)
{
    return PyUnicode_FromFormat("<gradc function %S>", self->entry);
}

static PyObject *entry_attribute(NativeFunction *self, void *name)
{
    return PyObject_GetAttrString(self->entry, name);
}

static PyObject *described(NativeFunction *self, const char *name)
{
    PyObject *args = PyTuple_Pack(1, self->entry);
    PyObject *result = args == NULL ? NULL : module_call("gradc.runtime.describe", name, args);
    Py_XDECREF(args);
    return result;
}

static PyObject *entry_signature(NativeFunction *self, void *unused)
{
    return described(self, "signature");
}

static PyObject *entry_doc(NativeFunction *self, void *unused)
{
    return described(self, "documentation");
}

static PyObject *release_workspace(NativeFunction *self, PyObject *unused)
{
    workspace_free_all(&self->workspaces);
    Py_RETURN_NONE;
}

static PyMethodDef function_methods[] = {
    {"bind", (PyCFunction)(void (*)(void))bound_call_new,
     METH_METHOD | METH_FASTCALL | METH_KEYWORDS,
     "bind(*args, out=None, **kwargs)\n--\n\nA call without arguments: these are read and checked "
     "once. Arrays are read and written in place at each call; numbers stay as they are now."},
    {"release_workspace", (PyCFunction)release_workspace, METH_NOARGS,
     "release_workspace()\n--\n\nGive back the memory that is kept for the next calls."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef function_getset[] = {
    {"name", (getter)entry_attribute, NULL, "The function's name.", "name"},
    {"__name__", (getter)entry_attribute, NULL, NULL, "name"},
    {"__qualname__", (getter)entry_attribute, NULL, NULL, "name"},
    {"sizes", (getter)entry_attribute, NULL, "The names of the sizes, in the C ABI's order.",
     "sizes"},
    {"inputs", (getter)entry_attribute, NULL, "The inputs: name, dtype, shape.", "inputs"},
    {"outputs", (getter)entry_attribute, NULL, "The outputs: name, dtype, shape.", "outputs"},
    {"__signature__", (getter)entry_signature, NULL, NULL, NULL},
    {"__doc__", (getter)entry_doc, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef function_members[] = {
    {"entry", T_OBJECT_EX, offsetof(NativeFunction, entry), READONLY,
     "The function's entry of the manifest."},
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(NativeFunction, vectorcall), READONLY, NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(NativeFunction, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot function_slots[] = {
    {Py_tp_new, function_new},
    {Py_tp_dealloc, function_dealloc},
    {Py_tp_traverse, function_traverse},
    {Py_tp_repr, function_repr},
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_methods, function_methods},
    {Py_tp_getset, function_getset},
    {Py_tp_members, function_members},
    {0, NULL},
};

PyType_Spec native_function_spec = {
    .name = "gradc.runtime._core.NativeFunction",
    .basicsize = sizeof(NativeFunction),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_HAVE_GC
             | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = function_slots,
};
