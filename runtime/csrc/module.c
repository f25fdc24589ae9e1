/* gradc.runtime._core: the types that stand between Python and native code. */
#define GRADC_IMPORTS_NUMPY
#include "core.h"

static int core_exec(PyObject *module)
{
    if (PyArray_ImportNumPyAPI() < 0)
        return -1;
    PyType_Spec *specs[] = {&native_function_spec, &bound_call_spec, &dispatcher_spec,
                            &library_spec};
    for (size_t i = 0; i < sizeof specs / sizeof *specs; i++) {
        PyObject *type = PyType_FromModuleAndSpec(module, specs[i], NULL);
        if (type == NULL)
            return -1;
        const int failed = PyModule_AddType(module, (PyTypeObject *)type);
        Py_DECREF(type);
        if (failed)
            return -1;
    }
    return PyModule_AddIntConstant(module, "ABI_VERSION", GRADC_ABI_VERSION);
}

static PyModuleDef_Slot core_slots[] = {
    {Py_mod_exec, core_exec},
    {0, NULL},
};

static struct PyModuleDef core_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "gradc.runtime._core",
    .m_doc = "Native functions and the libraries they live in.",
    .m_slots = core_slots,
};

PyMODINIT_FUNC PyInit__core(void)
{
    return PyModuleDef_Init(&core_module);
}
