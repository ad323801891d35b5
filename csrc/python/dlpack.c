#include "python/dlpack.h"

#include "python/view_paths.h"

#include <stdio.h>
#include <string.h>

/* ---- dmlc/dlpack 1.3, include/dlpack/dlpack.h: the declarations that a consumer needs ---- */

enum dl_device {
    DL_CPU = 1,
    DL_CUDA_HOST = 3,  /* pinned host memory */
    DL_ROCM_HOST = 11, /* the same for ROCm */
};

struct dl_version {
    uint32_t major;
    uint32_t minor;
};

struct dl_type {
    uint8_t code;
    uint8_t bits;
    uint16_t lanes;
};

struct dl_tensor {
    void *data;
    struct {
        int32_t type;
        int32_t id;
    } device;
    int32_t ndim;
    struct dl_type dtype;
    int64_t *shape;
    int64_t *strides; /* in elements; NULL: dense (before DLPack 1.2) */
    uint64_t byte_offset;
};

struct dl_managed {
    struct dl_tensor tensor;
    void *context;
    void (*deleter)(struct dl_managed *self);
};

struct dl_managed_versioned {
    struct dl_version version;
    void *context;
    void (*deleter)(struct dl_managed_versioned *self);
    uint64_t flags;
    struct dl_tensor tensor;
};

struct dl_exchange_header {
    struct dl_version version;
    struct dl_exchange_header *previous;
};

struct dl_exchange {
    struct dl_exchange_header header;
    void *allocate;
    int (*managed_from_object)(void *object, struct dl_managed_versioned **out);
    /* more follows that is not used here */
};

#define DL_MAJOR            1
#define DL_CAPSULE          "dltensor"
#define DL_CAPSULE_NEW      "dltensor_versioned"
#define DL_CAPSULE_USED     "used_dltensor"
#define DL_CAPSULE_NEW_USED "used_dltensor_versioned"
#define DL_EXCHANGE_CAPSULE "dlpack_exchange_api"

/* DLPack's type codes, by which a type is known whose framework name is not. */
static const struct {
    uint8_t code;
    uint8_t bits;
    int dtype;
} dl_types[] = {
    {0, 8, MLP_DTYPE_I8},           {0, 16, MLP_DTYPE_I16},
    {0, 32, MLP_DTYPE_I32},         {0, 64, MLP_DTYPE_I64},
    {1, 8, MLP_DTYPE_U8},           {1, 16, MLP_DTYPE_U16},
    {1, 32, MLP_DTYPE_U32},         {1, 64, MLP_DTYPE_U64},
    {2, 16, MLP_DTYPE_F16},         {2, 32, MLP_DTYPE_F32},
    {2, 64, MLP_DTYPE_F64},         {4, 16, MLP_DTYPE_BF16},
    {5, 32, MLP_DTYPE_C32},         {5, 64, MLP_DTYPE_C64},
    {5, 128, MLP_DTYPE_C128},       {6, 8, MLP_DTYPE_BOOL},
    {7, 8, MLP_DTYPE_F8_E3M4},      {8, 8, MLP_DTYPE_F8_E4M3_IEEE},
    {10, 8, MLP_DTYPE_F8_E4M3},     {9, 8, MLP_DTYPE_F8_E4M3B11FNUZ},
    {11, 8, MLP_DTYPE_F8_E4M3FNUZ}, {12, 8, MLP_DTYPE_F8_E5M2},
    {14, 8, MLP_DTYPE_F8_E8M0},     {13, 8, MLP_DTYPE_F8_E5M2FNUZ},
};

int mlp_dlpack_is_offered(const struct mlp_py_names *names, PyObject *object)
{
    PyObject *type = (PyObject *)Py_TYPE(object);
    PyObject *const routes[] = {names->dlpack, names->dlpack_exchange};
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++) {
        PyObject *attribute = PyObject_GetAttr(type, routes[i]);
        int offered = attribute != NULL && attribute != Py_None;
        Py_XDECREF(attribute);
        PyErr_Clear();
        if (offered)
            return 1;
    }
    return 0;
}

/* ---- the C exchange API ---- */

/* Returns: 0; MLP_PY_NOT_MINE: the type has no such API, or one of another major version; -1 with
 * an exception set. */
static int take_by_exchange(const struct mlp_py_names *names, PyObject *object,
                            struct mlp_dlpack *held)
{
    PyObject *capsule = PyObject_GetAttr((PyObject *)Py_TYPE(object), names->dlpack_exchange);
    if (capsule == NULL) {
        PyErr_Clear();
        return MLP_PY_NOT_MINE;
    }
    struct dl_exchange_header *header = NULL;
    if (PyCapsule_IsValid(capsule, DL_EXCHANGE_CAPSULE))
        header = PyCapsule_GetPointer(capsule, DL_EXCHANGE_CAPSULE);
    Py_DECREF(capsule); /* the type keeps it, and the API lives as long as the process */
    while (header != NULL && header->version.major > DL_MAJOR)
        header = header->previous;
    if (header == NULL || header->version.major != DL_MAJOR)
        return MLP_PY_NOT_MINE;
    struct dl_managed_versioned *managed = NULL;
    if (((struct dl_exchange *)header)->managed_from_object(object, &managed) != 0)
        return -1;
    held->managed = managed;
    held->versioned = 1;
    return 0;
}

/* ---- the capsules ---- */

/* object.__dlpack__(max_version=(1, 0)), without the argument for producers that do not know it. */
static PyObject *call_dlpack(const struct mlp_py_names *names, PyObject *object)
{
    PyObject *method = PyObject_GetAttr(object, names->dlpack);
    if (method == NULL)
        return NULL;
    PyObject *capsule = NULL;
    PyObject *arguments = PyTuple_New(0);
    PyObject *keywords = Py_BuildValue("{O:(ii)}", names->max_version, DL_MAJOR, 0);
    if (arguments != NULL && keywords != NULL)
        capsule = PyObject_Call(method, arguments, keywords);
    if (capsule == NULL && arguments != NULL && PyErr_ExceptionMatches(PyExc_TypeError)) {
        PyErr_Clear();
        capsule = PyObject_Call(method, arguments, NULL);
    }
    Py_XDECREF(keywords);
    Py_XDECREF(arguments);
    Py_DECREF(method);
    return capsule;
}

/* Returns: 0, or -1 with an exception set. */
static int take_by_capsule(const struct mlp_py_names *names, PyObject *object,
                           struct mlp_dlpack *held)
{
    PyObject *capsule = call_dlpack(names, object);
    if (capsule == NULL)
        return -1;
    int status = -1;
    int versioned = PyCapsule_IsValid(capsule, DL_CAPSULE_NEW);
    const char *name = versioned ? DL_CAPSULE_NEW : DL_CAPSULE;
    void *managed = PyCapsule_GetPointer(capsule, name); /* ValueError for another capsule */
    /* Renamed: the producer's destructor then leaves the tensor to us (DLPack's Python protocol).
     */
    if (managed != NULL &&
        PyCapsule_SetName(capsule, versioned ? DL_CAPSULE_NEW_USED : DL_CAPSULE_USED) == 0) {
        held->managed = managed;
        held->versioned = versioned;
        status = 0;
    }
    Py_DECREF(capsule);
    return status;
}

/* Producers copy or fail for other devices; asked first, so that the error can say what to do.
 * Returns: 0, MLP_E_TENSOR, or MLP_PY_RAISED. */
static int check_device(const struct mlp_py_names *names, PyObject *object, struct mlp_error *error)
{
    PyObject *pair = PyObject_CallMethodObjArgs(object, names->dlpack_device, NULL);
    if (pair == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_AttributeError))
            return mlp_py_tensor_failure(error, object, "asking for its device");
        PyErr_Clear(); /* the consumed tensor says it as well */
        return 0;
    }
    PyObject *first = PySequence_GetItem(pair, 0);
    Py_DECREF(pair);
    PyObject *number = first != NULL ? PyNumber_Index(first) : NULL;
    Py_XDECREF(first);
    long device = number != NULL ? PyLong_AsLong(number) : -1;
    Py_XDECREF(number);
    if (device == -1 && PyErr_Occurred())
        return mlp_py_tensor_failure(error, object, "asking for its device");
    if (device == DL_CPU || device == DL_CUDA_HOST || device == DL_ROCM_HOST)
        return 0;
    return mlp_fail(error, MLP_E_TENSOR,
                    "a tensor on DLPack device type %ld is not in host memory: copy it to the host "
                    "first",
                    device);
}

/* ---- the element type ---- */

/* The name without its module: "torch.float32", "paddle.float32", or dtype.name, "float32". */
static int dtype_from_framework(const struct mlp_py_names *names, PyObject *object)
{
    char name[96];
    int dtype = MLP_DTYPE_NONE;
    PyObject *type = PyObject_GetAttr(object, names->dtype);
    if (type != NULL && mlp_py_attribute_text(name, sizeof name, type, names->name) == 0) {
        dtype = mlp_dtype_from_numpy(name, strlen(name));
    } else if (type != NULL) {
        PyErr_Clear();
        if (mlp_py_attribute_text(name, sizeof name, object, names->dtype) == 0) {
            const char *dot = strrchr(name, '.');
            const char *bare = dot != NULL ? dot + 1 : name;
            int is_torch = strncmp(name, "torch.", 6) == 0;
            dtype = is_torch ? mlp_dtype_from_torch(bare, strlen(bare))
                             : mlp_dtype_from_numpy(bare, strlen(bare));
        }
    }
    Py_XDECREF(type);
    PyErr_Clear(); /* an object without dtype: DLPack's own type decides */
    return dtype;
}

static int dtype_from_dlpack(struct dl_type type)
{
    for (size_t i = 0; i < sizeof dl_types / sizeof dl_types[0]; i++) {
        if (dl_types[i].code == type.code && dl_types[i].bits == type.bits && type.lanes == 1)
            return dl_types[i].dtype;
    }
    return MLP_DTYPE_NONE;
}

static int fill_dtype(struct mlp_view *view, struct dl_type type, int dtype,
                      struct mlp_error *error)
{
    if (dtype == MLP_DTYPE_NONE)
        dtype = dtype_from_dlpack(type);
    const struct mlp_dtype_info *info = mlp_dtype_info(dtype);
    if (info == NULL)
        return mlp_fail(error, MLP_E_TENSOR,
                        "a tensor of DLPack type code %u, %u bits, %u lanes, which mlprov does not "
                        "know",
                        type.code, type.bits, type.lanes);
    if ((size_t)type.bits * type.lanes != (size_t)info->item_len * 8)
        return mlp_fail(error, MLP_E_TENSOR,
                        "a tensor whose dtype is %s but whose elements have %u bits in DLPack",
                        info->name, (unsigned)type.bits * type.lanes);
    view->dtype = dtype;
    view->item_len = info->item_len;
    return 0;
}

/* ---- the view ---- */

static int fill_dimensions(struct mlp_view *view, const struct dl_tensor *tensor,
                           struct mlp_error *error)
{
    if (tensor->ndim < 0 || tensor->ndim > MLP_VIEW_DIMS_MAX)
        return mlp_fail(error, MLP_E_TENSOR, "a tensor of %d dimensions: at most %d can be hashed",
                        (int)tensor->ndim, MLP_VIEW_DIMS_MAX);
    if (tensor->ndim > 0 && tensor->shape == NULL)
        return mlp_fail(error, MLP_E_TENSOR, "a DLPack tensor without a shape");
    view->ndim = tensor->ndim;
    for (int i = 0; i < view->ndim; i++)
        view->shape[i] = tensor->shape[i];
    if (tensor->strides == NULL)
        return mlp_view_set_dense_strides(view, error);
    for (int i = 0; i < view->ndim; i++) {
        view->strides[i] = 0; /* of a dimension that is never stepped along */
        if (view->shape[i] > 1 &&
            __builtin_mul_overflow(tensor->strides[i], (int64_t)view->item_len, &view->strides[i]))
            return mlp_fail(error, MLP_E_TENSOR, "stride %lld of dimension %d overflows",
                            (long long)tensor->strides[i], i);
    }
    return 0;
}

static int fill_view(struct mlp_view *view, const struct dl_tensor *tensor, int dtype,
                     struct mlp_error *error)
{
    if (tensor->device.type != DL_CPU && tensor->device.type != DL_CUDA_HOST &&
        tensor->device.type != DL_ROCM_HOST)
        return mlp_fail(error, MLP_E_TENSOR,
                        "a tensor on DLPack device type %d is not in host memory: copy it to the "
                        "host first",
                        (int)tensor->device.type);
    int status = fill_dtype(view, tensor->dtype, dtype, error);
    if (status == 0)
        status = fill_dimensions(view, tensor, error);
    if (status != 0)
        return status;
    if (tensor->data != NULL)
        view->data = (const uint8_t *)tensor->data + tensor->byte_offset;
    view->storage = view->data;
    return 0;
}

int mlp_dlpack_take(const struct mlp_py_names *names, PyObject *object, int dtype,
                    struct mlp_view *view, struct mlp_dlpack *held, struct mlp_error *error)
{
    int status = check_device(names, object, error);
    if (status != 0)
        return status;
    if (dtype == MLP_DTYPE_NONE)
        dtype = dtype_from_framework(names, object);
    status = take_by_exchange(names, object, held);
    if (status == MLP_PY_NOT_MINE)
        status = take_by_capsule(names, object, held);
    if (status != 0)
        return mlp_py_tensor_failure(error, object, "asking for its DLPack tensor");

    const struct dl_tensor *tensor;
    if (held->versioned) {
        struct dl_managed_versioned *managed = held->managed;
        if (managed->version.major != DL_MAJOR) {
            status =
                mlp_fail(error, MLP_E_TENSOR, "a DLPack tensor of version %u.%u: mlprov reads 1",
                         managed->version.major, managed->version.minor);
            mlp_dlpack_release(held);
            return status;
        }
        tensor = &managed->tensor;
    } else {
        tensor = &((struct dl_managed *)held->managed)->tensor;
    }
    status = fill_view(view, tensor, dtype, error);
    if (status != 0)
        mlp_dlpack_release(held);
    return status;
}

void mlp_dlpack_release(struct mlp_dlpack *held)
{
    void *managed = held->managed;
    held->managed = NULL;
    if (managed == NULL)
        return;
    if (held->versioned) {
        struct dl_managed_versioned *tensor = managed;
        if (tensor->deleter != NULL)
            tensor->deleter(tensor);
    } else {
        struct dl_managed *tensor = managed;
        if (tensor->deleter != NULL)
            tensor->deleter(tensor);
    }
}
