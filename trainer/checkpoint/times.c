#include "trainer/checkpoint/times.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/aside.h"
#include "ipc/base/file.h"
#include "ipc/base/json.h"
#include "trainer/checkpoint/impl.h"

#define TIMES_NAME "last.times.json"
#define TIMES_BYTES_MAX 4096

int tr_times_write(const struct tr_checkpoint_store *store, const struct tr_position *p, struct im_text *text)
{
    struct im_json *j = im_json_object();
    char path[PATH_MAX], *content;
    int err = tr_checkpoint_path(store, TIMES_NAME, path, text);

    im_json_set_int(j, "next_batch", (int64_t)p->next_batch);
    im_json_set_real(j, "train_seconds", p->train_seconds);
    im_json_set_real(j, "epoch_seconds", p->epoch_seconds);
    content = im_json_dump_indented(j);
    im_json_free(&j);
    if (err == 0)
        err = content ? im_file_replace_any(path, content, strlen(content), text)
                      : im_fail(text, -ENOMEM, "cannot write %s: out of memory", path);
    free(content);
    return err;
}

void tr_times_read(const struct tr_checkpoint_store *store, struct tr_position *p)
{
    struct im_json *j = NULL;
    char path[PATH_MAX], *bytes = NULL;
    size_t n = 0;

    if (tr_checkpoint_path(store, TIMES_NAME, path, NULL) == 0 &&
        im_read_file(path, TIMES_BYTES_MAX, &bytes, &n, NULL) == 0)
        im_json_parse(bytes, n, &j, NULL);
    free(bytes);
    if (im_json_int_or(j, "next_batch", -1) == (int64_t)p->next_batch) {
        p->train_seconds = im_json_real_or(j, "train_seconds", 0);
        p->epoch_seconds = im_json_real_or(j, "epoch_seconds", 0);
    } else {
        p->train_samples = 0; /* not timed */
    }
    im_json_free(&j);
}
