// bridge.cpp - mlprov._torch: libtorch's view of a tensor, as csrc/torch/bridge.h declares it.
//
// No operator runs for a tensor in host memory: its fields are read, so that neither autograd,
// dispatch modes nor copy-on-write storages notice. Tensors on a device are copied piece by piece,
// below autograd and below Python's dispatch modes.

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "torch/bridge.h"
#include "torch/kept_memory.h"
#include "torch/types.h"

#include <ATen/ATen.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/FunctionalTensorWrapper.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <torch/csrc/autograd/python_variable.h>
#include <torch/version.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>

#ifndef MLP_TORCH_VERSION
#define MLP_TORCH_VERSION TORCH_VERSION
#endif

namespace
{

// What is fetched from a device at a time. Large enough to hide the latency of a transfer (about 10
// us), small enough to stay in cache while it is hashed.
constexpr size_t STAGE_LEN = size_t{1} << 20;

// Values of a zero tensor (torch._efficientzerotensor), which has no storage.
alignas(16) constexpr uint8_t ZERO_ELEMENT[16] = {};

// Of a tensor that is fetched from its device, piece by piece.
struct Staged {
    at::Tensor source;        // the tensor as integers of its width, without conj and neg bits
    at::Tensor buffer;        // host memory, pinned where the device can use that
    uint64_t buffer_first{0}; // element of the tensor at the buffer's start
    uint64_t buffer_count{0};
};

struct Held {
    at::Tensor tensor;
    c10::Storage storage; // of its own: `.data =` gives the tensor another one
    mlprov::KeptMemory memory;
    std::unique_ptr<Staged> staged;
};

int fail(struct mlp_error *error, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

int fail(struct mlp_error *error, int status, const char *format, ...)
{
    if (error == nullptr)
        return status;
    va_list arguments;
    va_start(arguments, format);
    (void)std::vsnprintf(error->message, sizeof error->message, format, arguments);
    va_end(arguments);
    error->status = status;
    error->system_errno = 0;
    error->remedy = 0; // none of these texts says what to do
    return status;
}

// To be called in a catch block.
int fail_for_exception(struct mlp_error *error, const char *doing)
{
    try {
        throw;
    } catch (const std::bad_alloc &) {
        return fail(error, MLP_E_MEMORY, "out of memory while %s", doing);
    } catch (const c10::OutOfMemoryError &) {
        return fail(error, MLP_E_MEMORY, "out of device memory while %s", doing);
    } catch (const c10::Error &problem) {
        return fail(error, MLP_E_TENSOR, "torch failed while %s: %.300s", doing,
                    problem.what_without_backtrace());
    } catch (const std::exception &problem) {
        return fail(error, MLP_E_TENSOR, "torch failed while %s: %.300s", doing, problem.what());
    } catch (...) {
        return fail(error, MLP_E_TENSOR, "torch failed while %s", doing);
    }
}

// ---- what has no values of its own ----

int refuse_without_values(const at::Tensor &tensor, const char *type_name, struct mlp_error *error)
{
    if (tensor.is_meta())
        return fail(error, MLP_E_TENSOR,
                    "a tensor on the meta device has no values: load or initialise it first");
    if (at::functionalization::impl::isFunctionalTensor(tensor))
        return fail(error, MLP_E_TENSOR, "a functional tensor of a trace has no values of its own");
    const char *layout = mlprov::layout_name(tensor);
    if (layout != nullptr)
        return fail(error, MLP_E_TENSOR,
                    "a tensor of layout %s has parts, which are hashed one by one", layout);
    if (tensor.layout() != at::kStrided)
        return fail(error, MLP_E_TENSOR, "a tensor of a layout that mlprov does not know");
    if (tensor._is_zerotensor())
        return 0;
    if (!tensor.has_storage())
        return fail(error, MLP_E_TENSOR, "a %.80s has no storage: hash the tensors that it wraps",
                    type_name);
    const c10::Storage &storage = tensor.storage();
    if (storage.device_type() == at::kMeta)
        return fail(error, MLP_E_TENSOR, "a %.80s is fake and has no values", type_name);
    if (tensor.numel() > 0 && storage.data() == nullptr)
        return fail(error, MLP_E_TENSOR,
                    "a %.80s has %lld elements but no memory (freed, or a wrapper: hash the "
                    "tensors that it wraps)",
                    type_name, static_cast<long long>(tensor.numel()));
    return 0;
}

// Every element lies inside the storage: `storage.resize_` can leave it outside, and a read beyond
// the end would be a fault. torch's own operators check the same.
int refuse_beyond_storage(const at::Tensor &tensor, struct mlp_error *error)
{
    if (tensor.numel() == 0 || tensor._is_zerotensor())
        return 0;
    uint64_t last = static_cast<uint64_t>(tensor.storage_offset());
    bool overflow = false;
    for (int64_t i = 0; i < tensor.dim(); i++) {
        uint64_t reach;
        overflow = overflow ||
                   __builtin_mul_overflow(static_cast<uint64_t>(tensor.size(i) - 1),
                                          static_cast<uint64_t>(tensor.stride(i)), &reach) ||
                   __builtin_add_overflow(last, reach, &last);
    }
    uint64_t storage_items = tensor.storage().nbytes() / tensor.element_size();
    if (overflow || last >= storage_items)
        return fail(
            error, MLP_E_TENSOR,
            "a tensor that reaches to element %llu of a storage of %llu: the storage was resized",
            static_cast<unsigned long long>(last), static_cast<unsigned long long>(storage_items));
    return 0;
}

// ---- the staged path ----

// Neither autograd nor a Python dispatch mode (FakeTensorMode and the like) sees what is done here.
struct BelowPython {
    c10::impl::ExcludeDispatchKeyGuard python{
        c10::DispatchKeySet({c10::DispatchKey::Python, c10::DispatchKey::PythonTLSSnapshot})};
    at::AutoDispatchBelowADInplaceOrView autograd;
};

// Copies elements [first, first + count) of tensor, in row-major order, to out: whole rows of the
// first dimension in one copy, what is left before and after them by the next dimension. At most
// two copies for each dimension.
void copy_range(const at::Tensor &tensor, int64_t first, int64_t count, uint8_t *out)
{
    const size_t item_len = tensor.element_size();
    const auto on_host = tensor.options().device(at::kCPU);
    if (tensor.dim() == 0) {
        at::from_blob(out, {}, on_host).copy_(tensor);
        return;
    }
    const int64_t row_count = tensor.numel() / tensor.size(0);
    int64_t row = first / row_count;
    const int64_t inside = first % row_count;
    if (inside != 0 || count < row_count) {
        const int64_t head = std::min(row_count - inside, count);
        copy_range(tensor.select(0, row), inside, head, out);
        out += static_cast<size_t>(head) * item_len;
        count -= head;
        row++;
    }
    const int64_t rows = count / row_count;
    if (rows > 0) {
        at::Tensor source = tensor.narrow(0, row, rows);
        at::from_blob(out, source.sizes(), on_host).copy_(source);
        out += static_cast<size_t>(rows * row_count) * item_len;
        count -= rows * row_count;
    }
    if (count > 0)
        copy_range(tensor.select(0, row + rows), 0, count, out);
}

void refill(Staged &staged, uint64_t first, uint64_t wanted)
{
    const size_t item_len = staged.source.element_size();
    const uint64_t total = static_cast<uint64_t>(staged.source.numel());
    uint64_t count = std::max<uint64_t>(wanted, STAGE_LEN / item_len);
    count = std::min(count, total - first);
    const int64_t buffer_len = static_cast<int64_t>(count * item_len);
    if (!staged.buffer.defined() || staged.buffer.numel() < buffer_len)
        staged.buffer = at::empty(
            {buffer_len}, at::TensorOptions().dtype(at::kByte).device(at::kCPU).pinned_memory(
                              staged.source.is_cuda()));
    staged.buffer_count = 0; // nothing valid if a copy throws
    copy_range(staged.source, static_cast<int64_t>(first), static_cast<int64_t>(count),
               staged.buffer.data_ptr<uint8_t>());
    staged.buffer_first = first;
    staged.buffer_count = count;
}

int stage(void *context, uint64_t first, size_t count, void *out, struct mlp_error *error)
{
    Staged &staged = *static_cast<Staged *>(context);
    try {
        BelowPython guard;
        const size_t item_len = staged.source.element_size();
        const uint64_t total = static_cast<uint64_t>(staged.source.numel());
        if (first > total || count > total - first)
            return fail(error, MLP_E_RANGE, "staging elements %llu + %zu of %llu",
                        static_cast<unsigned long long>(first), count,
                        static_cast<unsigned long long>(total));
        if (first < staged.buffer_first ||
            first + count > staged.buffer_first + staged.buffer_count)
            refill(staged, first, count);
        std::memcpy(
            out, staged.buffer.const_data_ptr<uint8_t>() + (first - staged.buffer_first) * item_len,
            count * item_len);
        if (first + count == total) { // a model of many tensors holds one buffer at a time
            staged.buffer = at::Tensor();
            staged.buffer_count = 0;
        }
        return 0;
    } catch (...) {
        return fail_for_exception(error, "copying a tensor from its device");
    }
}

void prepare_stage(Held &held, struct mlp_view *view)
{
    BelowPython guard;
    at::Tensor source = held.tensor.detach();
    // Both only toggle the bit; the core resolves what view->flags says, exactly.
    if (source.is_conj())
        source = source.conj();
    if (source.is_neg())
        source = source._neg_view();
    held.staged = std::make_unique<Staged>();
    held.staged->source = source.view(mlprov::integer_of_width(view->item_len));
    view->data = nullptr;
    view->stage = stage;
    view->stage_context = held.staged.get();
}

// ---- the functions of the bridge ----

int bridge_is_tensor(void *object)
{
    return THPVariable_Check(static_cast<PyObject *>(object)) ? 1 : 0;
}

void fill_version(const at::Tensor &tensor, struct mlp_view *view)
{
    const auto &counter = tensor.unsafeGetTensorImpl()->version_counter();
    view->version_known = counter.enabled(); // inference tensors have none
    view->version = counter.enabled() ? counter.current_version() : 0;
}

// Where the element at the tensor's offset lies. StorageImpl::data() const: does not materialise a
// copy-on-write storage.
const void *first_element(const at::Tensor &tensor)
{
    if (tensor._is_zerotensor())
        return ZERO_ELEMENT;
    if (!tensor.has_storage() || tensor.storage().data() == nullptr)
        return nullptr;
    return static_cast<const uint8_t *>(tensor.storage().data()) +
           tensor.storage_offset() * static_cast<int64_t>(tensor.element_size());
}

void fill_memory(const at::Tensor &tensor, struct mlp_view *view)
{
    const bool zeros = tensor._is_zerotensor();
    for (int i = 0; i < view->ndim; i++) {
        view->shape[i] = tensor.size(i);
        // Strides times length cannot overflow: refuse_beyond_storage bounds them; those of
        // dimensions of 0 or 1 are never followed.
        view->strides[i] = zeros || tensor.size(i) <= 1
                               ? 0
                               : tensor.stride(i) * static_cast<int64_t>(view->item_len);
    }
    if (tensor.numel() > 0 || zeros)
        view->data = first_element(tensor);
    if (zeros)
        return;
    view->storage = tensor.storage().data();
    view->storage_offset = tensor.storage_offset() * static_cast<int64_t>(view->item_len);
}

int fill_view(const at::Tensor &tensor, struct mlp_view *view, struct mlp_error *error)
{
    view->dtype = mlprov::dtype_of(tensor.scalar_type());
    if (view->dtype == MLP_DTYPE_NONE)
        return fail(error, MLP_E_TENSOR, "a tensor of dtype %s, which mlprov does not know",
                    at::toString(tensor.scalar_type()));
    if (tensor.dim() > MLP_VIEW_DIMS_MAX)
        return fail(error, MLP_E_TENSOR, "a tensor of %lld dimensions: at most %d can be hashed",
                    static_cast<long long>(tensor.dim()), MLP_VIEW_DIMS_MAX);
    view->item_len = tensor.element_size();
    view->ndim = static_cast<int>(tensor.dim());
    view->flags = (tensor.is_conj() ? MLP_VIEW_CONJ : 0) | (tensor.is_neg() ? MLP_VIEW_NEG : 0);
    fill_version(tensor, view);
    fill_memory(tensor, view);
    return 0;
}

int bridge_view(void *object, int staged, struct mlp_view *view, void **held_out,
                struct mlp_error *error)
{
    PyObject *const python_object = static_cast<PyObject *>(object);
    try {
        auto held = std::make_unique<Held>();
        held->tensor = THPVariable_Unpack(python_object);
        const at::Tensor &tensor = held->tensor;
        int status = refuse_without_values(tensor, Py_TYPE(python_object)->tp_name, error);
        if (status == 0)
            status = refuse_beyond_storage(tensor, error);
        if (status != 0)
            return status;

        std::memset(view, 0, MLP_VIEW_HEAD_LEN);
        status = fill_view(tensor, view, error);
        if (status != 0)
            return status;
        if (tensor.has_storage())
            held->storage = tensor.storage();
        if (!tensor._is_zerotensor() && (staged != 0 || !tensor.is_cpu()))
            prepare_stage(*held, view);
        *held_out = held.release();
        return 0;
    } catch (...) {
        return fail_for_exception(error, "looking at a tensor");
    }
}

void bridge_release(void *held)
{
    delete static_cast<Held *>(held);
}

void bridge_state_now(const void *held, struct mlp_torch_state *state)
{
    const at::Tensor &tensor = static_cast<const Held *>(held)->tensor;
    const auto &counter = tensor.unsafeGetTensorImpl()->version_counter();
    state->version_known = counter.enabled() ? 1 : 0;
    state->version = counter.enabled() ? counter.current_version() : 0;
    try {
        state->data = first_element(tensor);
    } catch (...) {
        state->data = nullptr; // it has no memory any more, or none that may be looked at
    }
}

int bridge_keep_memory(void *held)
{
    Held &kept = *static_cast<Held *>(held);
    try {
        return !kept.storage || kept.memory.keep(kept.storage) ? 1 : 0;
    } catch (...) {
        return 0;
    }
}

const struct mlp_torch_bridge BRIDGE = {
    MLP_TORCH_BRIDGE_VERSION, sizeof(struct mlp_torch_bridge),
    sizeof(struct mlp_view),  MLP_TORCH_VERSION,
    bridge_is_tensor,         bridge_view,
    bridge_release,           bridge_state_now,
    bridge_keep_memory,
};

// ---- the module ----

// Returns: 0 where the torch that is loaded is the one of the headers; -1 with ImportError set.
int check_torch_release()
{
    PyObject *torch = PyImport_ImportModule("torch");
    if (torch == nullptr)
        return -1;
    PyObject *version = PyObject_GetAttrString(torch, "__version__");
    Py_DECREF(torch);
    if (version == nullptr)
        return -1;
    PyObject *text = PyObject_Str(version);
    Py_DECREF(version);
    if (text == nullptr)
        return -1;
    const char *loaded = PyUnicode_AsUTF8(text);
    int status = 0;
    if (loaded == nullptr)
        status = -1;
    else if (std::strcmp(loaded, MLP_TORCH_VERSION) != 0) {
        PyErr_Format(PyExc_ImportError,
                     "mlprov._torch was built against torch %s, and torch %s is loaded; tensors "
                     "go through DLPack instead. To use the bridge, build mlprov again in this "
                     "environment: pip install --no-build-isolation --force-reinstall --no-deps "
                     "mlprov",
                     MLP_TORCH_VERSION, loaded);
        status = -1;
    }
    Py_DECREF(text);
    return status;
}

int module_exec(PyObject *module)
{
    if (check_torch_release() != 0)
        return -1;
    PyObject *capsule = PyCapsule_New(const_cast<struct mlp_torch_bridge *>(&BRIDGE),
                                      MLP_TORCH_BRIDGE_NAME, nullptr);
    if (capsule == nullptr)
        return -1;
    int status = PyModule_AddObjectRef(module, "bridge", capsule);
    Py_DECREF(capsule);
    if (status == 0)
        status = PyModule_AddStringConstant(module, "torch_version", MLP_TORCH_VERSION);
    return status;
}

PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, reinterpret_cast<void *>(module_exec)},
    {0, nullptr},
};

PyModuleDef module_definition = {
    PyModuleDef_HEAD_INIT,
    "mlprov._torch",
    "libtorch's view of tensors for mlprov._core; nothing here is for other callers.",
    0,
    nullptr,
    module_slots,
    nullptr,
    nullptr,
    nullptr,
};

} // namespace

PyMODINIT_FUNC PyInit__torch(void)
{
    return PyModuleDef_Init(&module_definition);
}
