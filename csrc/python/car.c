/* car.c - files as CARs, and files out of them. */
#include "files/car.h"
#include "python/arguments.h"
#include "python/ipfs.h"
#include "python/visit.h"

/* A descriptor of the caller's that is open for writing. */
static int read_descriptor(struct mlp_py_state *state, int *fd, PyObject *object, const char *what)
{
    uint64_t number;
    struct mlp_error error;
    if (mlp_py_uint64(state, &number, object, what, MLP_E_ARGUMENT) != 0)
        return -1;
    if (number <= INT32_MAX) {
        *fd = (int)number;
        return 0;
    }
    mlp_fail(&error, MLP_E_ARGUMENT, "%s is no descriptor", what);
    mlp_py_raise(&state->exceptions, &error);
    return -1;
}

/* ---- writing ---- */

static PyObject *MlpCore_car_write(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", "", "", "", "threads", "progress", NULL};
    struct mlp_py_state *state = mlp_py_state_of_module(module);
    PyObject *path_object, *path, *fd_object, *name_object, *tuple, *answer = NULL;
    PyObject *threads_object = NULL, *progress = NULL, *name;
    struct mlp_unixfs unixfs;
    struct mlp_unixfs_link root;
    struct mlp_py_visit visit = {0};
    struct mlp_error error;
    uint64_t car_len = 0;
    size_t threads = 0;
    int fd = -1;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOOO|$OO:car_write", names, &path_object,
                                     &fd_object, &name_object, &tuple, &threads_object,
                                     &progress) ||
        mlp_py_unixfs(state, &unixfs, tuple) != 0 ||
        read_descriptor(state, &fd, fd_object, "car_write: descriptor") != 0 ||
        mlp_py_threads(state, &threads, threads_object, "car_write: threads") != 0 ||
        mlp_py_visit_progress(&visit, progress, "car_write: progress") != 0 ||
        mlp_py_path(&path, path_object) != 0)
        return NULL;
    if (mlp_py_path(&name, name_object) != 0) {
        Py_DECREF(path);
        return NULL;
    }
    const struct mlp_files_look looks = {mlp_py_visit_look, &visit};
    mlp_py_visit_begin(&visit);
    int status = mlp_car_write(&root, &car_len, fd, PyBytes_AsString(name), PyBytes_AsString(path),
                               &unixfs, threads, &looks, &error);
    mlp_py_visit_end(&visit);
    if (status == 0)
        answer = Py_BuildValue("y#K", (const char *)root.cid36, (Py_ssize_t)MLP_CID_LEN,
                               (unsigned long long)car_len);
    else
        mlp_py_raise_of_file(&state->exceptions, &error, PyBytes_AsString(path));
    Py_DECREF(name);
    Py_DECREF(path);
    return answer;
}

/* ---- reading ---- */

struct opening {
    PyObject *path; /* bytes; the car's reader points into it */
    struct mlp_py_visit visit;
    struct mlp_files_look looks;
    struct mlp_car car;
};

static int open_car(struct mlp_py_state *state, struct opening *opening, PyObject *path_object)
{
    struct mlp_error error;
    if (mlp_py_path(&opening->path, path_object) != 0)
        return -1;
    opening->looks = (struct mlp_files_look){mlp_py_visit_look, &opening->visit};
    const char *path = PyBytes_AsString(opening->path);
    mlp_py_visit_begin(&opening->visit);
    int status = mlp_car_open(&opening->car, path, &opening->looks, &error);
    mlp_py_visit_end(&opening->visit);
    if (status == 0)
        return 0;
    mlp_py_raise_of_file(&state->exceptions, &error, path);
    Py_CLEAR(opening->path);
    return -1;
}

static PyObject *roots_of(const struct mlp_car *car)
{
    return mlp_py_rows_to_list(car->roots[0], car->roots_count, MLP_CID_LEN);
}

static PyObject *MlpCore_car_read(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", "progress", NULL};
    struct opening opening = {0};
    PyObject *path, *progress = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|$O:car_read", names, &path, &progress) ||
        mlp_py_visit_progress(&opening.visit, progress, "car_read: progress") != 0 ||
        open_car(mlp_py_state_of_module(module), &opening, path) != 0)
        return NULL;
    PyObject *answer =
        Py_BuildValue("NnK", roots_of(&opening.car), (Py_ssize_t)opening.car.blocks_count,
                      (unsigned long long)opening.car.blocks_len);
    mlp_car_close(&opening.car);
    Py_DECREF(opening.path);
    return answer;
}

/* The CID that is asked for, or the only root. */
static int choose(struct mlp_py_state *state, uint8_t cid36[MLP_CID_LEN], const struct mlp_car *car,
                  PyObject *object)
{
    struct mlp_error error;
    if (!Py_IsNone(object))
        return mlp_py_bytes_exact(state, cid36, MLP_CID_LEN, object, "car_extract: cid",
                                  MLP_E_ARGUMENT);
    if (car->roots_count == 1) {
        memcpy(cid36, car->roots[0], MLP_CID_LEN);
        return 0;
    }
    mlp_fail(&error, MLP_E_MALFORMED,
             "%s has %zu roots, so that it does not say which file it is of; name the file's CID",
             car->reader.path, car->roots_count);
    mlp_py_raise(&state->exceptions, &error);
    return -1;
}

static PyObject *extract(struct mlp_py_state *state, struct opening *opening, int fd,
                         const char *out_path, PyObject *cid_object, PyObject *most_object)
{
    uint8_t cid36[MLP_CID_LEN];
    uint64_t len = 0, most = opening->car.blocks_len;
    struct mlp_error error;
    if (choose(state, cid36, &opening->car, cid_object) != 0 ||
        (!Py_IsNone(most_object) &&
         mlp_py_uint64(state, &most, most_object, "car_extract: max_size", MLP_E_ARGUMENT) != 0))
        return NULL;
    mlp_py_visit_begin(&opening->visit);
    int status =
        mlp_car_extract(&opening->car, &len, fd, out_path, cid36, most, &opening->looks, &error);
    mlp_py_visit_end(&opening->visit);
    if (status != 0)
        return mlp_py_raise_of_file(&state->exceptions, &error, out_path);
    return Py_BuildValue("y#K", (const char *)cid36, (Py_ssize_t)MLP_CID_LEN,
                         (unsigned long long)len);
}

static PyObject *MlpCore_car_extract(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", "", "", "cid", "max_size", "progress", NULL};
    struct mlp_py_state *state = mlp_py_state_of_module(module);
    struct opening opening = {0};
    PyObject *path, *fd_object, *name_object, *name, *cid = Py_None, *most = Py_None;
    PyObject *progress = NULL, *answer = NULL;
    int fd = -1;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOO|$OOO:car_extract", names, &path, &fd_object,
                                     &name_object, &cid, &most, &progress) ||
        read_descriptor(state, &fd, fd_object, "car_extract: descriptor") != 0 ||
        mlp_py_visit_progress(&opening.visit, progress, "car_extract: progress") != 0 ||
        mlp_py_path(&name, name_object) != 0)
        return NULL;
    if (open_car(state, &opening, path) == 0) {
        answer = extract(state, &opening, fd, PyBytes_AsString(name), cid, most);
        mlp_car_close(&opening.car);
        Py_DECREF(opening.path);
    }
    Py_DECREF(name);
    return answer;
}

/* ---- the group ---- */

static PyMethodDef functions[] = {
    {"car_write", MLP_PY_WITH_KEYWORDS(MlpCore_car_write), METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("car_write($module, path, fd, name, unixfs, /, *, threads=None, progress=None)\n"
               "--\n\nA file as a CAR.")},
    {"car_read", MLP_PY_WITH_KEYWORDS(MlpCore_car_read), METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("car_read($module, path, /, *, progress=None)\n--\n\nCheck every block of a CAR.")},
    {"car_extract", MLP_PY_WITH_KEYWORDS(MlpCore_car_extract), METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("car_extract($module, path, fd, name, /, *, cid=None, max_size=None, "
               "progress=None)\n--\n\nThe file that a CID names, out of a CAR.")},
    {NULL, NULL, 0, NULL},
};

int mlp_py_car_add(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}
