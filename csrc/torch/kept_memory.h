/* kept_memory.h - a storage's memory that outlives what is done to the storage. C++, for bridge.cpp
 * alone.
 *
 * A reference to a storage keeps the storage, not its memory: `storage.resize_(0)` and
 * `share_memory_()` free that at once, under whoever reads it on another thread. While it is kept,
 * the storage's own pointer and we share what frees it; the last one to let go does. Pointer, size and
 * everything that torch reads of the storage stay as they are.
 *
 * Source: c10/core/StorageImpl.h, c10/util/UniqueVoidPtr.h of the torch that is built against;
 * copy-on-write storages share memory among each other in the same way (c10/core/impl/COWDeleter.h).
 *
 * Threads: keep and let_go with the GIL held; the storage may let go on any thread.
 */
#ifndef MLP_TORCH_KEPT_MEMORY_H
#define MLP_TORCH_KEPT_MEMORY_H

#include <c10/core/Storage.h>

#include <atomic>
#include <memory>
#include <utility>

namespace mlprov
{

class KeptMemory
{
  public:
    // Returns: whether the storage's memory stays until let_go. False where that cannot be had: what
    // frees it is not a plain function of its address (pinned memory, copy-on-write), and the storage
    // may drop it.
    bool keep(const c10::Storage &storage)
    {
        at::DataPtr &pointer = storage.unsafeGetStorageImpl()->_mutable_data_ptr_no_checks();
        if (pointer.get() == nullptr || !storage.resizable())
            return true; // nothing to free, or nobody frees it before the storage ends
        if (pointer.get_deleter() == &drop)
            shared_ = static_cast<Shared *>(pointer.get_context());
        else if (pointer.get_context() == pointer.get() && pointer.device().is_cpu())
            shared_ = share(pointer);
        else
            return false;
        shared_->keepers++;
        shared_->owners.fetch_add(1, std::memory_order_relaxed);
        storage_ = storage;
        return true;
    }

    ~KeptMemory()
    {
        if (shared_ == nullptr)
            return;
        at::DataPtr &pointer = storage_.unsafeGetStorageImpl()->_mutable_data_ptr_no_checks();
        if (--shared_->keepers == 0 && pointer.get_context() == shared_)
            give_back(pointer);
        drop(shared_);
    }

    KeptMemory() = default;
    KeptMemory(const KeptMemory &) = delete;
    KeptMemory &operator=(const KeptMemory &) = delete;

  private:
    using Context = std::unique_ptr<void, c10::DeleterFnPtr>;

    struct Shared {
        Context context;               // frees the memory
        std::atomic<size_t> owners{1}; // the storage's pointer, and everybody who keeps it
        size_t keepers{0};             // under the GIL

        explicit Shared(Context &&owned) : context(std::move(owned))
        {
        }
    };

    static void drop(void *context)
    {
        Shared *shared = static_cast<Shared *>(context);
        if (shared->owners.fetch_sub(1, std::memory_order_acq_rel) == 1)
            delete shared;
    }

    // The address is written over with itself: a kernel that reads it meanwhile sees no other.
    static Shared *share(at::DataPtr &pointer)
    {
        Shared *shared = new Shared(pointer.move_context());
        pointer = at::DataPtr(pointer.get(), shared, &drop, pointer.device());
        return shared;
    }

    // The storage as it was. The pointer's share ends with the old pointer.
    void give_back(at::DataPtr &pointer)
    {
        Context context = std::move(shared_->context);
        c10::DeleterFnPtr deleter = context.get_deleter();
        pointer = at::DataPtr(pointer.get(), context.release(), deleter, pointer.device());
    }

    c10::Storage storage_;
    Shared *shared_{nullptr};
};

} // namespace mlprov

#endif
