#include "python/batch_queue.h"

#include "python/arguments.h"
#include "store/stream.h"
#include "tensor/canonical.h"
#include "tensor/digest.h"

#include <stdlib.h>

#define ALIGNMENT     64
#define BATCH_LEN_MAX 65536 /* longer ones are hashed where they lie: a copy gains little */
#define TEXT_LEN_FULL 65536 /* a batch whose own text is long waits with few others */

/* ---- adding ---- */

bool mlp_py_batch_queue_is_full(const struct mlp_py_batch_queue *queue, int algorithm)
{
    if (queue->count == 0)
        return false;
    size_t own_len = BATCH_LEN_MAX + MLP_PY_BATCH_SOURCES_MAX * (size_t)ALIGNMENT;
    return queue->appended > 0 || queue->algorithm != algorithm ||
           queue->count == MLP_PY_QUEUE_BATCHES_MAX || queue->text.len >= TEXT_LEN_FULL ||
           queue->bytes_len + own_len > MLP_PY_QUEUE_LEN_MAX ||
           queue->views.count + MLP_PY_BATCH_SOURCES_MAX > MLP_PY_QUEUE_VIEWS_MAX;
}

static bool make_memory(struct mlp_py_batch_queue *queue)
{
    if (queue->bytes == NULL)
        queue->bytes = malloc(MLP_PY_QUEUE_LEN_MAX);
    if (queue->views.capacity == 0)
        (void)mlp_view_set_init(&queue->views, MLP_PY_QUEUE_VIEWS_MAX, false, NULL);
    return queue->bytes != NULL && queue->views.capacity > 0;
}

/* What all tensors agree upon as their first dimension. */
static bool agree_on_samples(struct mlp_py_batch *batch, const struct mlp_view *view)
{
    int64_t shape[MLP_VIEW_DIMS_MAX];
    if (mlp_view_leaf_shape(shape, view) == 0)
        return true;
    if (batch->samples >= 0 && batch->samples != shape[0])
        return false;
    batch->samples = shape[0];
    return true;
}

static bool copy_view(struct mlp_py_batch_queue *queue, struct mlp_py_batch *batch,
                      struct mlp_view *view)
{
    uint64_t len;
    size_t index;
    if (view->stage != NULL || mlp_canonical_len(&len, view, NULL) != 0 ||
        batch->len + len > BATCH_LEN_MAX || !agree_on_samples(batch, view) ||
        (len > 0 && !mlp_canonical_in_place(view)))
        return false;
    uint8_t *copy = queue->bytes + queue->bytes_len;
    if (len > 0)
        memcpy(copy, view->data, (size_t)len);
    view->data = copy;
    if (mlp_view_set_add(&queue->views, &index, view, NULL) != 0)
        return false;
    queue->bytes_len += ((size_t)len + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    batch->len += len;
    return true;
}

static bool add_source(struct mlp_py_batch_queue *queue, struct mlp_py_state *state,
                       struct mlp_py_batch *batch, PyObject *source)
{
    struct mlp_view view;
    struct mlp_py_refs refs;
    if (mlp_py_view_take(&state->view, source, 0, &view, &refs, NULL) != 0) {
        if (PyErr_Occurred() && PyErr_ExceptionMatches(PyExc_Exception))
            PyErr_Clear(); /* who takes the batch then says what it is */
        return false;
    }
    bool copied = copy_view(queue, batch, &view);
    mlp_py_refs_release(&refs);
    return copied;
}

static bool add_sources(struct mlp_py_batch_queue *queue, struct mlp_py_state *state,
                        struct mlp_py_batch *batch, uint64_t most)
{
    size_t first = queue->views.count;
    batch->samples = -1;
    batch->len = 0;
    for (size_t i = 0; i < batch->count; i++) {
        if (!add_source(queue, state, batch, batch->sources[i]))
            return false;
        queue->gaps[first + i] = batch->gaps[i];
    }
    mlp_buffer_append(&queue->text, batch->text.data, batch->text.len);
    return batch->samples >= 0 && batch->len <= most && mlp_buffer_status(&queue->text) == 0;
}

static void cut(struct mlp_py_batch_queue *queue, size_t bytes_len, size_t text_len, size_t views)
{
    queue->bytes_len = bytes_len;
    queue->text.len = text_len;
    queue->text.failed = 0;
    mlp_view_set_cut(&queue->views, views);
}

static void end_batch(struct mlp_py_batch_queue *queue, const char *member, int algorithm)
{
    queue->algorithm = algorithm;
    queue->batches[queue->count].member = member;
    queue->batches[queue->count].text_end = queue->text.len;
    queue->batches[queue->count].views_end = queue->views.count;
    queue->count++;
}

int mlp_py_batch_queue_add(struct mlp_py_batch_queue *queue, struct mlp_py_state *state,
                           struct mlp_py_batch *batch, int algorithm, uint64_t most)
{
    if (!make_memory(queue))
        return 0;
    size_t bytes_len = queue->bytes_len, text_len = queue->text.len, views = queue->views.count;
    if (!add_sources(queue, state, batch, most)) {
        cut(queue, bytes_len, text_len, views);
        return PyErr_Occurred() ? -1 : 0;
    }
    end_batch(queue, "items", algorithm);
    return 1;
}

int mlp_py_batch_queue_add_indices(struct mlp_py_batch_queue *queue, PyObject *indices)
{
    size_t text_len = queue->text.len;
    int plain = mlp_py_index_text(&queue->text, indices);
    if (plain == 1)
        end_batch(queue, "indices", MLP_BLAKE3); /* nothing in it is hashed */
    else
        cut(queue, queue->bytes_len, text_len, queue->views.count);
    return plain;
}

/* ---- draining ---- */

/* leaf: memory that is used again. */
static int append_leaf(struct mlp_buffer *leaf, const struct mlp_py_batch_queue *queue,
                       size_t index, struct mlp_stream *stream,
                       const struct mlp_hash_request *request, struct mlp_error *error)
{
    size_t text_begin = index > 0 ? queue->batches[index - 1].text_end : 0;
    size_t first = index > 0 ? queue->batches[index - 1].views_end : 0;
    const struct mlp_py_batch_form form = {
        .member = queue->batches[index].member,
        .text = queue->text.data + text_begin,
        .text_len = queue->batches[index].text_end - text_begin,
        .gaps = queue->gaps + first,
        .count = queue->batches[index].views_end - first,
        .views = &queue->views,
        .first = first,
    };
    leaf->len = 0;
    int status = mlp_py_batch_write(leaf, &form, mlp_stream_size(stream), request, error);
    if (status == 0)
        status = mlp_stream_append(stream, NULL, leaf->data, leaf->len, error);
    return status;
}

int mlp_py_batch_queue_drain(struct mlp_py_batch_queue *queue, struct mlp_stream *stream,
                             struct mlp_error *error)
{
    if (queue->count == 0)
        return 0;
    uint8_t digests[MLP_PY_QUEUE_VIEWS_MAX * MLP_HASH_MAX_LEN];
    const struct mlp_hash_request request = {queue->algorithm, digests};
    int status = mlp_tensor_digest_many(&request, 1, &queue->views, 0, NULL, error);
    struct mlp_buffer leaf = {0};
    while (status == 0 && queue->appended < queue->count) {
        status = append_leaf(&leaf, queue, queue->appended, stream, &request, error);
        queue->appended += status == 0;
    }
    mlp_buffer_clear(&leaf);
    if (status == 0) {
        queue->count = queue->appended = 0;
        cut(queue, 0, 0, 0);
    }
    return status;
}

void mlp_py_batch_queue_clear(struct mlp_py_batch_queue *queue)
{
    free(queue->bytes);
    mlp_view_set_clear(&queue->views);
    mlp_buffer_clear(&queue->text);
    memset(queue, 0, sizeof *queue);
}
