/* Names have the prefix imsuper_ and base units, counters end in _total; labels are few and of few values. A number
 * that is not known is left out. */
#include "supervisor/report/exposition.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/count.h"

struct family {
    const char *key, *name, *type, *help;
};

static void exposition_begin(FILE *f, const struct family *m)
{
    fprintf(f, "# HELP imsuper_%s %s\n# TYPE imsuper_%s %s\n", m->name, m->help, m->name, m->type);
}

/* A label's value, with its three escapes. */
static void put_label(FILE *f, const char *s)
{
    fputc('"', f);
    for (; *s; s++) {
        if (*s == '\n')
            fputs("\\n", f);
        else
            fprintf(f, *s == '"' || *s == '\\' ? "\\%c" : "%c", *s);
    }
    fputc('"', f);
}

static void put_value(FILE *f, double v)
{
    fprintf(f, v == floor(v) && fabs(v) < 0x1p53 ? " %.0f\n" : " %.9g\n", v);
}

/* Numbers of the run itself. */
static const struct family numbers[] = {
    {"epoch", "epoch", "gauge", "Epoch in progress, from 1."},
    {"epochs", "epochs", "gauge", "Epochs of the whole run."},
    {"step", "epoch_step", "gauge", "Batches done in this pass of the epoch."},
    {"steps", "epoch_steps", "gauge", "Batches of this pass of the epoch."},
    {"images_per_second", "images_per_second", "gauge", "Images trained or validated per second, lately."},
    {"mfu", "model_flops_utilization_ratio", "gauge", "Share of the GPUs' peak rate."},
    {"loss", "loss", "gauge", "Training loss of the last step."},
    {"lr", "learning_rate", "gauge", "Learning rate of the last step."},
    {"val_loss", "validation_loss", "gauge", "Loss of the last validation."},
    {"up_seconds", "up_seconds", "gauge", "Time since this start of the run."},
    {"time_left_seconds", "time_limit_left_seconds", "gauge", "Time until the run stops for its time limit."},
    {"outage_seconds", "storage_outage_seconds", "gauge",
     "Time since the storage is away; absent while it is there."},
    {"skipped_steps", "skipped_steps", "gauge", "Steps without an update, for numbers that are not finite."},
    {"deaths", "process_deaths_total", "counter", "Processes that died in this start of the run."},
    {"resets", "resets_total", "counter", "Returns to a snapshot or checkpoint in this start of the run."},
    {"bad_samples", "bad_samples_total", "counter", "Files that could not be used in this start of the run."},
    {"ready_cells", "ready_files", "gauge", "Files that were read and wait for an augmenter."},
    {"ready_batches", "ready_batches", "gauge", "Whole batches that wait for a trainer."},
};

static void write_numbers(FILE *f, const struct im_json *status)
{
    for (size_t i = 0; i < IM_COUNT(numbers); i++) {
        const double v = im_json_real_or(status, numbers[i].key, (double)NAN);

        if (!isfinite(v))
            continue;
        exposition_begin(f, &numbers[i]);
        fprintf(f, "imsuper_%s", numbers[i].name);
        put_value(f, v);
    }
}

/* Of images that lie on another machine. */
static void write_cache(FILE *f, const struct im_json *cache)
{
    static const struct family families[] = {
        {"hits", "cache_hits_total", "counter", "Images that were in the cache when they were looked for."},
        {"misses", "cache_misses_total", "counter", "Images that were not."},
        {"fetched_bytes", "fetched_bytes_total", "counter", "Bytes that came from the server."},
        {"evicted", "cache_evictions_total", "counter", "Objects that made room for others."},
        {"bytes", "cache_bytes", "gauge", "What all objects in the cache take."},
    };

    for (size_t i = 0; cache && i < IM_COUNT(families); i++) {
        exposition_begin(f, &families[i]);
        fprintf(f, "imsuper_%s", families[i].name);
        put_value(f, im_json_real_or(cache, families[i].key, 0));
    }
}

/* A family with a member for each object of a list, told apart by one label. */
static void write_list(FILE *f, const struct im_json *list, const struct family *m, const char *label_key,
                       const char *label)
{
    bool begun = false;

    for (size_t i = 0; i < im_json_count(list); i++) {
        const struct im_json *one = im_json_at(list, i);
        const double v = im_json_real_or(one, m->key, (double)NAN);
        char number[32];

        if (!isfinite(v))
            continue;
        if (!begun)
            exposition_begin(f, m);
        begun = true;
        snprintf(number, sizeof number, "%lld", (long long)im_json_int_or(one, label_key, 0));
        fprintf(f, "imsuper_%s{%s=", m->name, label);
        put_label(f, im_json_str_or(one, label_key, number));
        fputc('}', f);
        put_value(f, v);
    }
}

static void write_stages(FILE *f, const struct im_json *status)
{
    static const struct family families[] = {
        {"processes", "stage_processes", "gauge", "Processes that work in a stage."},
        {"per_second", "stage_images_per_second", "gauge", "Images per second of a stage, lately."},
        {"busy", "stage_busy_ratio", "gauge", "Share of its time that a stage works."},
        {"wait_input", "stage_wait_input_ratio", "gauge",
         "Share of its time that a stage waits for the one before."},
        {"wait_output", "stage_wait_output_ratio", "gauge",
         "Share of its time that a stage waits for the one behind."},
    };
    static const struct family limits = {"", "stage_limits", "gauge", "1: this stage limits the run."};
    const struct im_json *list = im_json_get(status, "stages");

    for (size_t i = 0; i < IM_COUNT(families); i++)
        write_list(f, list, &families[i], "stage", "stage");
    exposition_begin(f, &limits);
    for (size_t i = 0; i < im_json_count(list); i++) {
        const char *stage = im_json_str_or(im_json_at(list, i), "stage", "");

        fputs("imsuper_stage_limits{stage=", f);
        put_label(f, stage);
        fprintf(f, "} %d\n", strcmp(stage, im_json_str_or(status, "limited_by", "")) == 0);
    }
}

static void write_gpus(FILE *f, const struct im_json *status)
{
    static const struct family families[] = {
        {"busy", "gpu_busy_ratio", "gauge", "Share of time in which a kernel ran."},
        {"memory_bytes", "gpu_memory_bytes", "gauge", "Memory in use."},
        {"power_w", "gpu_power_watts", "gauge", "Power."},
        {"temperature_c", "gpu_temperature_celsius", "gauge", "Temperature."},
        {"energy_j", "gpu_energy_joules_total", "counter", "Energy since the trainer began."},
    };

    for (size_t i = 0; i < IM_COUNT(families); i++)
        write_list(f, im_json_get(status, "gpus"), &families[i], "gpu", "gpu");
}

/* Sums over the processes of a role, with the role as label. */
static void write_roles(FILE *f, const struct im_json *status, const struct family *m)
{
    static const char *const roles[] = {"reader", "augmenter", "trainer"};
    const struct im_json *list = im_json_get(status, "processes");

    exposition_begin(f, m);
    for (size_t r = 0; r < IM_COUNT(roles); r++) {
        int64_t sum = 0;

        for (size_t i = 0; i < im_json_count(list); i++)
            if (strcmp(im_json_str_or(im_json_at(list, i), "role", ""), roles[r]) == 0)
                sum += im_json_int_or(im_json_at(list, i), m->key, 0);
        fprintf(f, "imsuper_%s{role=\"%s\"} %lld\n", m->name, roles[r], (long long)sum);
    }
}

static void write_ledger(FILE *f, const struct im_json *status)
{
    static const struct family duplicates = {"", "duplicate_samples_total", "counter",
                                             "Samples that came twice in a pass; 0 as long as all is well."};
    static const char *const splits[] = {"train", "val"};

    exposition_begin(f, &duplicates);
    for (size_t i = 0; i < IM_COUNT(splits); i++)
        fprintf(f, "imsuper_duplicate_samples_total{split=\"%s\"} %lld\n", splits[i],
                (long long)im_json_int_or(im_json_get(im_json_get(status, "ledger"), splits[i]), "duplicates",
                                          0));
}

static void write_accuracy(FILE *f, const struct im_json *status)
{
    static const struct family accuracy = {"", "validation_accuracy_ratio", "gauge",
                                           "Accuracy of the last validation, top-k."};
    static const char *const keys[] = {"val_top1", "val_top5"};
    bool begun = false;

    for (size_t i = 0; i < IM_COUNT(keys); i++) {
        const double v = im_json_real_or(status, keys[i], (double)NAN);

        if (!isfinite(v))
            continue;
        if (!begun)
            exposition_begin(f, &accuracy);
        begun = true;
        fprintf(f, "imsuper_validation_accuracy_ratio{k=\"%c\"}", keys[i][7]);
        put_value(f, v);
    }
}

/* Of images with several labels. */
static void write_several(FILE *f, const struct im_json *status)
{
    static const struct family families[] = {
        {"val_map", "validation_map_ratio", "gauge", "Mean average precision of the last validation."},
        {"val_f1", "validation_f1_ratio", "gauge", "F1 over all labels of the last validation."}};

    for (size_t i = 0; i < IM_COUNT(families); i++) {
        const double v = im_json_real_or(status, families[i].key, (double)NAN);

        if (!isfinite(v))
            continue;
        exposition_begin(f, &families[i]);
        fprintf(f, "imsuper_%s", families[i].name);
        put_value(f, v);
    }
}

static void write_info(FILE *f, const struct im_json *status)
{
    static const struct family build = {"", "build_info", "gauge", "Version."};
    static const struct family run = {"", "run_info", "gauge", "Name of the run and what it does now."};

    exposition_begin(f, &build);
    fputs("imsuper_build_info{version=\"" IMSUPER_VERSION "\"} 1\n", f);
    exposition_begin(f, &run);
    fputs("imsuper_run_info{run=", f);
    put_label(f, im_json_str_or(status, "run", ""));
    fputs(",state=", f);
    put_label(f, im_json_bool_or(status, "paused", false) ? "paused" : im_json_str_or(status, "state", ""));
    fputs("} 1\n", f);
}

char *sv_exposition(const struct im_json *status)
{
    static const struct family restarts = {"restarts", "process_restarts_total", "counter",
                                           "Processes that were started again."};
    static const struct family samples = {"samples", "images_total", "counter",
                                          "Images that the processes of a role have done."};
    static const struct family bytes = {"bytes", "bytes_total", "counter",
                                        "Bytes that the processes of a role have read."};
    char *s = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&s, &n);

    if (!f)
        return NULL;
    write_info(f, status);
    write_numbers(f, status);
    write_accuracy(f, status);
    write_several(f, status);
    write_stages(f, status);
    write_roles(f, status, &samples);
    write_roles(f, status, &bytes);
    write_roles(f, status, &restarts);
    write_ledger(f, status);
    write_gpus(f, status);
    write_cache(f, im_json_get(status, "cache"));
    if (fclose(f) == 0)
        return s;
    free(s);
    return NULL;
}
