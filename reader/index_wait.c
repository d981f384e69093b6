#include "reader/index_wait.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>

#include "ipc/base/clock.h"
#include "ipc/base/log.h"

#define RETRY_NS (500 * IM_MS)

int rd_wait_for_index(struct im_child *child, struct rd_index *index, struct im_text *text)
{
    struct im_process *entry = child->entry;
    im_ns began = im_now();
    bool told = false;
    int err, leave;

    if (child->index_fd > 0 && rd_index_map(child->index_fd, child->conf->index_file, index, NULL) == 0)
        return 0;
    while ((err = rd_index_open(child->conf->index_file, index, text)) < 0 && err != -EBADMSG) {
        atomic_store_explicit(&entry->read_error, (uint32_t)-err, memory_order_relaxed);
        atomic_store_explicit(&entry->failing_reads, 1, memory_order_relaxed);
        atomic_store_explicit(&entry->waiting_ns, began, memory_order_relaxed);
        if (!told)
            im_log(IM_LOG_WARN, "the index cannot be opened; trying again", "why=%s",
                   im_log_quote(&(struct im_quoted){0}, text->s));
        told = true;
        leave = im_child_should_leave(child);
        if (leave)
            return leave;
        nanosleep(&(struct timespec){.tv_nsec = (long)(RETRY_NS)}, NULL);
    }
    atomic_store_explicit(&entry->failing_reads, 0, memory_order_relaxed);
    atomic_store_explicit(&entry->waiting_ns, 0, memory_order_relaxed);
    return err;
}
