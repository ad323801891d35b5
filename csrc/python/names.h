/* names.h - the attribute names that looking at tensors and modules asks for, interned once for the module.
 *
 * Threads: with the GIL held. The fields are constant between init and clear.
 */
#ifndef MLP_PYTHON_NAMES_H
#define MLP_PYTHON_NAMES_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* X(field, text), by who is asked: modules, types, DLPack, the array interface, torch's tensors,
 * torch's modules. */
#define MLP_PY_NAMES(X)                                                                            \
    X(numpy, "numpy")                                                                              \
    X(numpy_ma, "numpy.ma")                                                                        \
    X(torch, "torch")                                                                              \
    X(version_text, "__version__")                                                                 \
    X(masked_array, "MaskedArray")                                                                 \
    X(ndarray, "ndarray")                                                                          \
    X(generic, "generic")                                                                          \
    X(tensor, "Tensor")                                                                            \
    X(dlpack, "__dlpack__")                                                                        \
    X(dlpack_device, "__dlpack_device__")                                                          \
    X(dlpack_exchange, "__dlpack_c_exchange_api__")                                                \
    X(max_version, "max_version")                                                                  \
    X(array, "__array__")                                                                          \
    X(array_interface, "__array_interface__")                                                      \
    X(byteorder, "byteorder")                                                                      \
    X(data, "data")                                                                                \
    X(dtype, "dtype")                                                                              \
    X(itemsize, "itemsize")                                                                        \
    X(kind, "kind")                                                                                \
    X(name, "name")                                                                                \
    X(names, "names")                                                                              \
    X(shape, "shape")                                                                              \
    X(str, "str")                                                                                  \
    X(strides, "strides")                                                                          \
    X(conj, "conj")                                                                                \
    X(detach, "detach")                                                                            \
    X(int16, "int16")                                                                              \
    X(int32, "int32")                                                                              \
    X(int64, "int64")                                                                              \
    X(is_conj, "is_conj")                                                                          \
    X(is_meta, "is_meta")                                                                          \
    X(is_neg, "is_neg")                                                                            \
    X(is_nested, "is_nested")                                                                      \
    X(is_quantized, "is_quantized")                                                                \
    X(layout, "layout")                                                                            \
    X(nbytes, "nbytes")                                                                            \
    X(neg_view, "_neg_view")                                                                       \
    X(storage_offset, "storage_offset")                                                            \
    X(uint8, "uint8")                                                                              \
    X(untyped_storage, "untyped_storage")                                                          \
    X(version, "_version")                                                                         \
    X(view, "view")                                                                                \
    X(parameters, "_parameters")                                                                   \
    X(buffers, "_buffers")                                                                         \
    X(modules, "_modules")                                                                         \
    X(transient, "_non_persistent_buffers_set")                                                    \
    X(save, "_save_to_state_dict")                                                                 \
    X(flat_parameter, "_flat_param")

/* Each a str of the module's own. */
struct mlp_py_names {
#define MLP_PY_NAME_FIELD(field, text) PyObject *field;
    MLP_PY_NAMES(MLP_PY_NAME_FIELD)
#undef MLP_PY_NAME_FIELD
};

/* Returns: 0, or -1 with an exception set; clear in both cases. */
int mlp_py_names_init(struct mlp_py_names *names);

/* May be called on a zeroed one, and again. */
void mlp_py_names_clear(struct mlp_py_names *names);

#endif
