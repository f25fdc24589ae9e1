/* Library: a shared library opened for its symbols, closed when nothing refers to it any more. */
#include "core.h"

#include <dlfcn.h>
#include <unistd.h>

typedef struct {
    PyObject_HEAD
    void *handle;
    int descriptor; /* of the file, open as long as the library is; -1: none */
} Library;

static PyObject *library_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"path", "descriptor", NULL};
    PyObject *path;
    int descriptor = -1;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O&|i:Library", names, PyUnicode_FSConverter,
                                     &path, &descriptor))
        return NULL;
    Library *self = (Library *)type->tp_alloc(type, 0);
    if (self == NULL) {
        Py_DECREF(path);
        return NULL;
    }
    self->descriptor = -1;
    self->handle = dlopen(PyBytes_AS_STRING(path), RTLD_NOW | RTLD_LOCAL);
    Py_DECREF(path);
    if (self->handle == NULL) {
        PyErr_SetString(PyExc_OSError, dlerror());
        Py_DECREF(self);
        return NULL;
    }
    self->descriptor = descriptor;
    return (PyObject *)self;
}

static void library_dealloc(Library *self)
{
    PyTypeObject *type = Py_TYPE(self);
    if (self->handle != NULL)
        dlclose(self->handle);
    if (self->descriptor >= 0)
        close(self->descriptor);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *library_symbol(Library *self, PyObject *name)
{
    const char *text = PyUnicode_AsUTF8(name);
    if (text == NULL)
        return NULL;
    void *address = dlsym(self->handle, text);
    if (address == NULL)
        return PyErr_Format(PyExc_LookupError, "the library exports no symbol '%s'", text);
    return PyLong_FromVoidPtr(address);
}

static PyMethodDef library_methods[] = {
    {"symbol", (PyCFunction)library_symbol, METH_O, "The address of an exported symbol."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot library_slots[] = {
    {Py_tp_doc, "Library(path, descriptor=-1)\n--\n\n"
                "A shared library, open while this object lives; then `descriptor` is closed too."},
    {Py_tp_new, library_new},
    {Py_tp_dealloc, library_dealloc},
    {Py_tp_methods, library_methods},
    {0, NULL},
};

PyType_Spec library_spec = {
    .name = "gradc.runtime._core.Library",
    .basicsize = sizeof(Library),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = library_slots,
};
