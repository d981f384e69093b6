#include "supervisor/report/histogram.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "supervisor/report/saved.h"
#include "supervisor/report/tb_event.h"

enum { CHUNK = 1 << 16 }; /* values read at once */

/* The bytes of one tensor. */
struct tensor {
    int fd;
    uint64_t at, count;
};

/* The next of its values into `chunk`; how many, 0 at the end, negative errno. */
static int read_chunk(const struct tensor *t, uint64_t done, float chunk[CHUNK])
{
    const uint64_t left = t->count - done, n = left < CHUNK ? left : CHUNK;
    const size_t bytes = (size_t)n * sizeof *chunk;

    if (pread(t->fd, chunk, bytes, (off_t)(t->at + done * sizeof *chunk)) != (ssize_t)bytes)
        return -EIO;
    return (int)n;
}

static int find_range(const struct tensor *t, float *chunk, struct sv_tb_histogram *h)
{
    int n;

    *h = (struct sv_tb_histogram){.min = INFINITY, .max = -INFINITY};
    for (uint64_t done = 0; done < t->count; done += (uint64_t)n) {
        n = read_chunk(t, done, chunk);
        if (n < 0)
            return n;
        for (int i = 0; i < n; i++) {
            const double v = chunk[i];

            if (!isfinite(v))
                continue;
            h->min = v < h->min ? v : h->min;
            h->max = v > h->max ? v : h->max;
            h->sum += v;
            h->squares += v * v;
            h->count++;
        }
    }
    return 0;
}

static int count_values(const struct tensor *t, float *chunk, struct sv_tb_histogram *h)
{
    const double width = h->max > h->min ? (h->max - h->min) / SV_TB_BUCKETS : 1;
    int n;

    for (int b = 0; b < SV_TB_BUCKETS; b++)
        h->limit[b] = b == SV_TB_BUCKETS - 1 && h->max > h->min ? h->max : h->min + width * (b + 1);
    for (uint64_t done = 0; done < t->count; done += (uint64_t)n) {
        n = read_chunk(t, done, chunk);
        if (n < 0)
            return n;
        for (int i = 0; i < n; i++) {
            int b;

            if (!isfinite(chunk[i]))
                continue;
            b = (int)((chunk[i] - h->min) / width);
            h->bucket[b < SV_TB_BUCKETS ? b : SV_TB_BUCKETS - 1]++;
        }
    }
    return 0;
}

/* 1: it is a tensor of floats that lies in the file. */
static int locate(const struct im_json *entry, const struct sv_tensor_data *data, struct tensor *ret)
{
    const struct im_json *offsets = im_json_get(entry, "data_offsets");
    int64_t begin, end;

    if (strcmp(im_json_str_or(entry, "dtype", ""), "F32") != 0 ||
        im_json_as_int(im_json_at(offsets, 0), &begin) < 0 ||
        im_json_as_int(im_json_at(offsets, 1), &end) < 0 || begin < 0 || end <= begin ||
        (uint64_t)end > data->bytes)
        return 0;
    *ret = (struct tensor){data->fd, data->begin + (uint64_t)begin, (uint64_t)(end - begin) / sizeof(float)};
    return ret->count > 0;
}

static int histogram_add(struct sv_records *r, const struct tensor *t, const char *name, double time,
                         int64_t step, float *chunk)
{
    struct sv_tb_histogram h;
    char tag[256];
    int err = find_range(t, chunk, &h);

    if (err < 0 || h.count == 0)
        return err;
    err = count_values(t, chunk, &h);
    snprintf(tag, sizeof tag, "weights/%.200s", name);
    if (err == 0)
        sv_tb_histogram(r, time, step, tag, &h);
    return err;
}

int sv_histograms(struct sv_records *r, const char *path, double time, int64_t *ret_step,
                  struct im_text *text)
{
    struct sv_state_file file;
    struct sv_tensor_data data;
    const struct im_json *entry;
    float *chunk;
    int err = sv_saved_open_tensors(path, &file, &data, text);

    if (err < 0)
        return err;
    chunk = malloc(CHUNK * sizeof *chunk);
    err = chunk ? 0 : -ENOMEM;
    *ret_step = sv_saved_int(&file, "step", -1);
    for (const char *name = NULL; err == 0 && *ret_step >= 0 && (entry = im_json_next(file.header, &name));) {
        struct tensor t;

        if (locate(entry, &data, &t))
            err = histogram_add(r, &t, name, time, *ret_step, chunk);
    }
    if (err == -EIO)
        im_fail(text, err, "%s cannot be read", path);
    free(chunk);
    close(data.fd);
    sv_saved_close(&file);
    return err;
}
