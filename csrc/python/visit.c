#include "python/visit.h"

#include "python/view.h"

int mlp_py_visit_progress(struct mlp_py_visit *visit, PyObject *object, const char *what)
{
    visit->progress = object != NULL ? object : Py_None;
    if (Py_IsNone(visit->progress) || PyCallable_Check(visit->progress))
        return 0;
    PyErr_Format(PyExc_TypeError, "%s must be None or a callable, not %R", what,
                 (PyObject *)Py_TYPE(object));
    return -1;
}

int mlp_py_visit_look(void *context, uint64_t files, uint64_t bytes)
{
    struct mlp_py_visit *visit = context;
    PyEval_RestoreThread(visit->released);
    int answer = PyErr_CheckSignals();
    if (answer == 0 && !Py_IsNone(visit->progress)) {
        PyObject *result = PyObject_CallFunction(visit->progress, "KK", (unsigned long long)files,
                                                 (unsigned long long)bytes);
        answer = result != NULL ? 0 : -1;
        Py_XDECREF(result);
    }
    visit->released = PyEval_SaveThread();
    return answer != 0 ? MLP_PY_RAISED : 0;
}

void mlp_py_visit_begin(struct mlp_py_visit *visit)
{
    visit->released = PyEval_SaveThread();
}

void mlp_py_visit_end(struct mlp_py_visit *visit)
{
    PyEval_RestoreThread(visit->released);
}
