#include "trainer/checkpoint/identity.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "ipc/base/file.h"
#include "ipc/base/json.h"
#include "trainer/checkpoint/safetensors.h"

#define RUN "snapshot.run"
#define GENERATION "snapshot.generation"
#define FILE_BYTES_MAX 4096

uint64_t tr_offers_run(const struct tr_offer *all, uint32_t ranks)
{
    for (uint32_t r = 0; r < ranks; r++)
        if (all[r].id.run > 0)
            return all[r].id.run;
    return all[0].new_run;
}

static bool is_newer(const struct tr_offer *a, const struct tr_offer *b)
{
    return a->id.generation != b->id.generation ? a->id.generation > b->id.generation
                                                : a->position > b->position;
}

uint32_t tr_offers_owner(const struct tr_offer *all, uint32_t ranks, uint64_t run)
{
    const struct tr_offer *best = NULL;

    for (uint32_t r = 0; r < ranks; r++)
        if (all[r].position > 0 && all[r].id.run == run && (!best || is_newer(&all[r], best)))
            best = &all[r];
    return best && best->position > all[0].file_position ? (uint32_t)(best - all) : 0;
}

uint64_t tr_offers_start(const struct tr_offer *all, uint32_t ranks, uint64_t run, bool goes_on)
{
    uint64_t start = all[0].starts;

    for (uint32_t r = 0; r < ranks; r++) {
        const uint64_t had = all[r].id.generation >> 32;

        if (all[r].id.run == run && had > 0 && had + !goes_on > start)
            start = had + !goes_on;
    }
    return start > 0 ? start : 1;
}

uint64_t tr_identity_draw(void)
{
    uint64_t run = 0;

    while (run == 0) {
        im_assert(getrandom(&run, sizeof run, 0) == (ssize_t)sizeof run);
        run %= TR_IDENTITY_RUN_MAX;
    }
    return run;
}

static int file_of(const char *run_dir, const char *name, char ret[PATH_MAX], struct im_text *text)
{
    const int n = snprintf(ret, PATH_MAX, "%s/nodes%s", run_dir, name);

    return n < PATH_MAX ? 0 : im_fail(text, -ENAMETOOLONG, "the path of the run's folder is too long");
}

static bool is_within(int64_t value, uint64_t limit)
{
    return value > 0 && (uint64_t)value < limit;
}

int tr_identity_load(const char *run_dir, uint64_t *ret_run, uint64_t *ret_starts, struct im_text *text)
{
    char path[PATH_MAX], *bytes = NULL;
    struct im_json *j = NULL;
    int64_t run, starts;
    size_t n = 0;
    int err = file_of(run_dir, "/identity.json", path, text);

    *ret_run = *ret_starts = 0;
    if (err == 0)
        err = im_read_file(path, FILE_BYTES_MAX, &bytes, &n, text);
    if (err < 0)
        return err == -ENOENT ? 0 : err;
    im_json_parse(bytes, n, &j, NULL);
    free(bytes);
    run = im_json_int_or(j, "run", 0);
    starts = im_json_int_or(j, "starts", 0);
    im_json_free(&j);
    if (!is_within(run, TR_IDENTITY_RUN_MAX) || !is_within(starts, TR_IDENTITY_STARTS_MAX))
        return im_fail(text, -EBADMSG, "%s is damaged", path);
    *ret_run = (uint64_t)run;
    *ret_starts = (uint64_t)starts;
    return 0;
}

int tr_identity_store(const char *run_dir, uint64_t run, uint64_t starts, struct im_text *text)
{
    struct im_json *j = im_json_object();
    char path[PATH_MAX], *content;
    int err = file_of(run_dir, "", path, text);

    im_json_set_int(j, "run", (int64_t)run);
    im_json_set_int(j, "starts", (int64_t)starts);
    content = im_json_dump_indented(j);
    im_json_free(&j);
    if (err == 0)
        err = im_mkdirs(path, 0777, text);
    if (err == 0)
        err = file_of(run_dir, "/identity.json", path, text);
    if (err == 0)
        err = content ? im_file_replace(path, content, strlen(content), text)
                      : im_fail(text, -ENOMEM, "cannot write %s: out of memory", path);
    free(content);
    return err;
}

static void add(struct tr_position_text *t, const char *key, uint64_t value)
{
    t->key[t->count] = key;
    snprintf(t->value[t->count++], sizeof t->value[0], "%" PRIu64, value);
}

void tr_identity_write(const struct tr_identity *id, struct tr_position_text *ret)
{
    if (id->run == 0)
        return;
    add(ret, RUN, id->run);
    add(ret, GENERATION, id->generation);
}

static uint64_t number_of(const struct tr_safetensors *state, const char *key)
{
    const char *value = tr_safetensors_metadata(state, key);
    char *end;
    uint64_t number;

    if (!value || *value < '0' || *value > '9')
        return 0;
    number = strtoull(value, &end, 10);
    return *end ? 0 : number;
}

bool tr_identity_read(const struct tr_safetensors *state, struct tr_identity *ret)
{
    ret->run = number_of(state, RUN);
    ret->generation = number_of(state, GENERATION);
    return ret->run > 0 && ret->run < TR_IDENTITY_RUN_MAX && ret->generation > 0 &&
           ret->generation < TR_IDENTITY_STARTS_MAX << 32;
}
