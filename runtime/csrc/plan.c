/* Plans: a function's shapes as small postfix programs, read once from the manifest's tuples. */
#include "core.h"

static const struct {
    const char *name;
    Element element;
    int type_number, itemsize;
} ELEMENTS[] = {
    {"f64", F64, NPY_FLOAT64, 8}, {"f32", F32, NPY_FLOAT32, 4}, {"i64", I64, NPY_INT64, 8},
    {"i32", I32, NPY_INT32, 4},   {"bool", BOOL, NPY_BOOL, 1},
};

static bool floor_divide(int64_t numerator, int64_t denominator, int64_t *quotient)
{
    if (denominator == 0 || (numerator == INT64_MIN && denominator == -1))
        return false;
    int64_t q = numerator / denominator;
    if (numerator % denominator != 0 && (numerator < 0) != (denominator < 0))
        q--;
    *quotient = q;
    return true;
}

/* Evaluate a dimension's program, see dim_value. */
bool dim_run(const Dim *dim, const int64_t *sizes, int64_t *value)
{
    int64_t stack[MAX_STACK];
    int depth = 0;
    for (Py_ssize_t i = 0; i < dim->count; i++) {
        const DimCode code = dim->code[i];
        if (code.op == PUSH || code.op == SIZE) {
            stack[depth++] = code.op == PUSH ? code.value : sizes[code.value];
            continue;
        }
        if (code.op == NEG) {
            if (__builtin_sub_overflow((int64_t)0, stack[depth - 1], &stack[depth - 1]))
                return false;
            continue;
        }
        const int64_t b = stack[--depth], a = stack[depth - 1];
        int64_t *result = &stack[depth - 1];
        const bool failed = code.op == ADD   ? __builtin_add_overflow(a, b, result)
                            : code.op == SUB ? __builtin_sub_overflow(a, b, result)
                            : code.op == MUL ? __builtin_mul_overflow(a, b, result)
                                             : !floor_divide(a, b, result);
        if (failed)
            return false;
    }
    *value = stack[0];
    return true;
}

/* Whether the program stays on its stack, names existing sizes and leaves one number. */
static int dim_check(const Dim *dim, Py_ssize_t sizes)
{
    int depth = 0;
    for (Py_ssize_t i = 0; i < dim->count; i++) {
        const DimCode code = dim->code[i];
        const bool known = code.op >= PUSH && code.op <= NEG;
        if (!known || (code.op == SIZE && (code.value < 0 || code.value >= sizes)))
            break;
        if (code.op <= SIZE)
            depth++;
        else if (code.op != NEG)
            depth--;
        if (depth < 1 || depth > MAX_STACK)
            break;
        if (i == dim->count - 1 && depth == 1)
            return 0;
    }
    PyErr_SetString(PyExc_ValueError, "the plan holds a malformed dimension");
    return -1;
}

/* Memory for `count` zeroed items, counted in `*length`; never NULL but for lack of memory. */
static void *allocate(Py_ssize_t count, size_t itemsize, Py_ssize_t *length)
{
    void *block = PyMem_Calloc((size_t)count + 1, itemsize);
    if (block == NULL)
        PyErr_NoMemory();
    *length = block == NULL ? 0 : count;
    return block;
}

static int dim_read(Dim *dim, PyObject *program, Py_ssize_t sizes)
{
    if (!PyTuple_Check(program)) {
        PyErr_SetString(PyExc_TypeError, "a dimension's program is a tuple");
        return -1;
    }
    dim->code = allocate(PyTuple_GET_SIZE(program), sizeof(DimCode), &dim->count);
    if (dim->code == NULL)
        return -1;
    for (Py_ssize_t i = 0; i < dim->count; i++) {
        long long op, value;
        if (!PyArg_ParseTuple(PyTuple_GET_ITEM(program, i), "LL", &op, &value))
            return -1;
        dim->code[i] = (DimCode){op, value};
    }
    return dim_check(dim, sizes);
}

static int element_read(Array *array, const char *name)
{
    for (size_t i = 0; i < sizeof ELEMENTS / sizeof *ELEMENTS; i++) {
        if (strcmp(ELEMENTS[i].name, name) == 0) {
            array->element = ELEMENTS[i].element;
            array->type_number = ELEMENTS[i].type_number;
            array->itemsize = ELEMENTS[i].itemsize;
            return 0;
        }
    }
    PyErr_Format(PyExc_ValueError, "unknown element type '%s'", name);
    return -1;
}

static int inputs_read(Plan *plan, PyObject *inputs)
{
    plan->input = allocate(PyTuple_GET_SIZE(inputs), sizeof(Array), &plan->inputs);
    for (Py_ssize_t i = 0; i < plan->inputs; i++) {
        const char *name;
        Array *array = &plan->input[i];
        if (!PyArg_ParseTuple(PyTuple_GET_ITEM(inputs, i), "si", &name, &array->rank)
            || element_read(array, name) < 0)
            return -1;
    }
    return plan->input == NULL ? -1 : 0;
}

static int outputs_read(Plan *plan, PyObject *outputs)
{
    plan->output = allocate(PyTuple_GET_SIZE(outputs), sizeof(Array), &plan->outputs);
    for (Py_ssize_t i = 0; i < plan->outputs; i++) {
        const char *name;
        PyObject *shape;
        Py_ssize_t rank;
        Array *array = &plan->output[i];
        if (!PyArg_ParseTuple(PyTuple_GET_ITEM(outputs, i), "sO!", &name, &PyTuple_Type, &shape)
            || element_read(array, name) < 0)
            return -1;
        array->shape = allocate(PyTuple_GET_SIZE(shape), sizeof(Dim), &rank);
        array->rank = (int)rank;
        array->description = PyArray_DescrFromType(array->type_number);
        if (array->shape == NULL || array->description == NULL)
            return -1;
        if (rank > MAX_RANK) {
            PyErr_Format(PyExc_ValueError, "an array has at most %d axes", MAX_RANK);
            return -1;
        }
        for (int axis = 0; axis < array->rank; axis++)
            if (dim_read(&array->shape[axis], PyTuple_GET_ITEM(shape, axis), plan->sizes) < 0)
                return -1;
    }
    return plan->output == NULL ? -1 : 0;
}

static int steps_read(Plan *plan, PyObject *steps)
{
    plan->step = allocate(PyTuple_GET_SIZE(steps), sizeof(Step), &plan->steps);
    for (Py_ssize_t i = 0; i < plan->steps; i++) {
        PyObject *program;
        Step *step = &plan->step[i];
        if (!PyArg_ParseTuple(PyTuple_GET_ITEM(steps, i), "iiiO", &step->input, &step->axis,
                              &step->solve, &program)
            || dim_read(&step->dim, program, plan->sizes) < 0)
            return -1;
        if (step->input < 0 || step->input >= plan->inputs || step->axis < 0
            || step->axis >= plan->input[step->input].rank || step->solve < -1
            || step->solve >= plan->sizes) {
            PyErr_SetString(PyExc_ValueError, "the plan names an axis or size that is not there");
            return -1;
        }
    }
    return plan->step == NULL ? -1 : 0;
}

static int requires_read(Plan *plan, PyObject *requires)
{
    plan->requirement = allocate(PyTuple_GET_SIZE(requires), sizeof(Requirement), &plan->requires);
    for (Py_ssize_t i = 0; i < plan->requires; i++) {
        PyObject *program;
        int is_zero;
        Requirement *requirement = &plan->requirement[i];
        if (!PyArg_ParseTuple(PyTuple_GET_ITEM(requires, i), "Op", &program, &is_zero)
            || dim_read(&requirement->dim, program, plan->sizes) < 0)
            return -1;
        requirement->is_zero = is_zero;
    }
    return plan->requirement == NULL ? -1 : 0;
}

/* Read (sizes, inputs, outputs, steps, requires) as FunctionEntry.plan() makes it. */
int plan_read(Plan *plan, PyObject *tuple)
{
    PyObject *inputs, *outputs, *steps, *requires;
    if (!PyArg_ParseTuple(tuple, "nO!O!O!O!", &plan->sizes, &PyTuple_Type, &inputs, &PyTuple_Type,
                          &outputs, &PyTuple_Type, &steps, &PyTuple_Type, &requires))
        return -1;
    if (inputs_read(plan, inputs) < 0 || outputs_read(plan, outputs) < 0)
        return -1;
    return steps_read(plan, steps) < 0 || requires_read(plan, requires) < 0 ? -1 : 0;
}

void plan_free(Plan *plan)
{
    for (Py_ssize_t i = 0; i < plan->outputs; i++) {
        for (int axis = 0; plan->output[i].shape != NULL && axis < plan->output[i].rank; axis++)
            PyMem_Free(plan->output[i].shape[axis].code);
        PyMem_Free(plan->output[i].shape);
        Py_XDECREF(plan->output[i].description);
    }
    for (Py_ssize_t i = 0; i < plan->steps; i++)
        PyMem_Free(plan->step[i].dim.code);
    for (Py_ssize_t i = 0; i < plan->requires; i++)
        PyMem_Free(plan->requirement[i].dim.code);
    PyMem_Free(plan->input);
    PyMem_Free(plan->output);
    PyMem_Free(plan->step);
    PyMem_Free(plan->requirement);
    memset(plan, 0, sizeof *plan);
}
