/* The power fails at any instant of a run: what was said to be saved is found again, whole, and with the lines of its
 * metrics.
 *
 *   test_powercut             exit status 0: it is
 *   test_powercut --mutant    of a program from which a sync or a rename was removed: 0 if that was noticed */
#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/base/count.h"
#include "ipc/base/err.h"
#include "ipc/base/file.h"
#include "ipc/base/json.h"
#include "tests/support/disk.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/metrics.h"

#define EPOCHS 3
#define VALUES 64

struct found {
    int violations, states;
    bool one_is_enough;
};

static void violated(struct found *f, int mark, const char *what, const char *detail)
{
    if (f->violations++ < 10)
        fprintf(stderr, "after %d was saved: %s%s%s\n", mark, what, *detail ? ": " : "", detail);
}

static void must(int err, const struct im_text *text)
{
    if (err >= 0)
        return;
    fprintf(stderr, "test_powercut: %s\n", text->s);
    exit(2);
}

/* --- the run ------------------------------------------------------------------------------------------------- */

/* Every value is the epoch, so that a mixture of two saves shows. */
static void save(struct tr_checkpoint_store *store, int epoch)
{
    float weight[VALUES], momentum[VALUES];
    const struct tr_tensor tensors[] = {{"fc.weight", TR_F32, 1, {VALUES}, weight},
                                        {"optimizer.momentum.fc.weight", TR_F32, 1, {VALUES}, momentum}};
    char step[16];
    const struct tr_pair metadata[] = {{"step", step}};
    const struct tr_checkpoint_content content = {tensors, IM_COUNT(tensors), metadata, IM_COUNT(metadata)};
    struct im_text text = {""};

    for (int i = 0; i < VALUES; i++)
        weight[i] = momentum[i] = (float)epoch;
    snprintf(step, sizeof step, "%d", epoch);
    must(tr_checkpoint_save(store, &content, epoch, epoch != 2, &text), &text);
}

static void write_metrics(struct tr_metrics *m, int epoch)
{
    const struct tr_summary summary = {.epoch = (uint32_t)epoch};
    struct im_json *j = im_json_object();
    struct im_text text = {""};

    im_json_set_str(j, "event", "epoch");
    im_json_set_int(j, "step", epoch);
    im_json_set_int(j, "epoch", epoch);
    must(tr_metrics_line(m, j, &text), &text);
    tr_metrics_summary(m, &summary);
    must(tr_metrics_sync(m), &(struct im_text){"the metrics are not on disk"});
    im_json_free(&j);
}

/* In the order of trainer.c and of trainer/metrics.h. Which is opened first must not matter: the second syncs the names
 * that the first made. */
static void train(const char *folder, bool metrics_first)
{
    struct im_json *done = im_json_object();
    struct tr_checkpoint_store store;
    struct tr_metrics metrics;
    char run[4096], checkpoints[4200];
    struct im_text text = {""};

    snprintf(run, sizeof run, "%s/run", folder);
    snprintf(checkpoints, sizeof checkpoints, "%s/checkpoints", run);
    disk_record(folder);
    must(im_mkdirs(run, 0777, &text), &text);
    if (metrics_first)
        must(tr_metrics_open(&metrics, run, 0, 0, false, &text), &text);
    must(tr_checkpoint_store_open(&store, checkpoints, 2, &text), &text);
    if (!metrics_first)
        must(tr_metrics_open(&metrics, run, 0, 0, false, &text), &text);
    for (int epoch = 1; epoch <= EPOCHS; epoch++) {
        write_metrics(&metrics, epoch);
        save(&store, epoch);
        disk_mark(epoch);
    }
    must(tr_done_set(run, done, &text), &text);
    disk_mark(EPOCHS + 1);
    tr_metrics_close(&metrics);
    im_json_free(&done);
    disk_stop();
}

/* --- what is found ------------------------------------------------------------------------------------------- */

/* The epoch of a whole checkpoint or export; -1: its values are not of one save. */
static int epoch_of(const struct tr_safetensors *file)
{
    int epoch = (int)strtol(tr_safetensors_metadata(file, "step"), NULL, 10);

    for (size_t t = 0; t < tr_safetensors_count(file); t++) {
        const float *value = tr_safetensors_at(file, t)->data;

        for (int i = 0; i < VALUES; i++)
            if (value[i] < (float)epoch || value[i] > (float)epoch)
                return -1;
    }
    return epoch;
}

static void check_file(struct found *f, int mark, const char *path)
{
    struct tr_safetensors *file = NULL;
    struct im_text text = {""};

    if (tr_checkpoint_open_file(path, &file, &text) < 0)
        violated(f, mark, "a torn file", text.s);
    else if (epoch_of(file) < 0)
        violated(f, mark, "a mixture of two saves", path);
    tr_safetensors_close(&file);
}

/* No file that has a name of its own is torn, and those of the last epoch said to be saved are there. */
static void check_files(struct found *f, int mark, const char *checkpoints)
{
    DIR *d = opendir(checkpoints);
    int epoch = mark > EPOCHS ? EPOCHS : mark;
    char path[8192];

    for (const struct dirent *e; d && (e = readdir(d)) != NULL;) {
        snprintf(path, sizeof path, "%s/%s", checkpoints, e->d_name);
        if (e->d_name[0] != '.' && strcmp(e->d_name, "next.state.safetensors") != 0)
            check_file(f, mark, path);
    }
    if (d)
        closedir(d);
    snprintf(path, sizeof path, "%s/epoch_%03d.safetensors", checkpoints, epoch);
    if (mark > 0 && access(path, F_OK) < 0)
        violated(f, mark, "an epoch's file is missing", path);
}

static int load(struct found *f, int mark, const char *checkpoints)
{
    struct tr_checkpoint_store store;
    struct tr_safetensors *state = NULL;
    struct im_text text = {""};
    int epoch = 0, err;

    must(tr_checkpoint_store_open(&store, checkpoints, 2, &text), &text);
    err = tr_checkpoint_load(&store, &state, &text);
    if (err == -ENOENT && mark == 0)
        return 0;
    if (err < 0) {
        violated(f, mark, "nothing can be loaded", text.s);
        return 0;
    }
    epoch = epoch_of(state);
    if (epoch < mark && mark <= EPOCHS)
        violated(f, mark, "an older checkpoint is loaded than was saved", "");
    tr_safetensors_close(&state);
    return epoch;
}

static int count_lines(const char *path, const char *with)
{
    FILE *file = fopen(path, "re");
    char line[4096];
    int n = 0;

    while (file && fgets(line, sizeof line, file))
        n += strstr(line, with) != NULL;
    if (file)
        fclose(file);
    return n;
}

/* After continuing from `epoch` each epoch before it has its lines, once. */
static void check_metrics(struct found *f, int mark, const char *run, int epoch)
{
    struct tr_metrics metrics;
    struct im_text text = {""};
    char path[8192];

    if (tr_metrics_open(&metrics, run, (uint64_t)epoch, (uint32_t)epoch, false, &text) < 0) {
        violated(f, mark, "the metrics cannot be continued", text.s);
        return;
    }
    tr_metrics_close(&metrics);
    snprintf(path, sizeof path, "%s/metrics.jsonl", run);
    if (count_lines(path, "\"event\":\"epoch\"") != epoch)
        violated(f, mark, "lines of epochs are missing", path);
    snprintf(path, sizeof path, "%s/summary.csv", run);
    if (count_lines(path, "") != epoch + 1)
        violated(f, mark, "rows of epochs are missing", path);
}

static bool check(const char *folder, int mark, void *context)
{
    struct found *f = context;
    char run[4096], checkpoints[4200], done[4200];
    int epoch;

    f->states++;
    snprintf(run, sizeof run, "%s/run", folder);
    snprintf(checkpoints, sizeof checkpoints, "%s/checkpoints", run);
    snprintf(done, sizeof done, "%s/DONE", run);
    check_files(f, mark, checkpoints);
    epoch = load(f, mark, checkpoints);
    if ((access(done, F_OK) == 0) != (mark > EPOCHS) && (mark > EPOCHS || epoch < EPOCHS))
        violated(f, mark, "DONE does not tell the truth", "");
    check_metrics(f, mark, run, epoch);
    return !(f->one_is_enough && f->violations > 0);
}

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st, (void)kind, (void)at;
    return remove(path);
}

static void one_run(bool metrics_first, struct found *ret)
{
    char folder[] = "/tmp/imsuper-power-XXXXXX", scratch[64];

    if (!mkdtemp(folder))
        exit(2);
    train(folder, metrics_first);
    snprintf(scratch, sizeof scratch, "%s/found", folder);
    if (mkdir(scratch, 0700) < 0)
        exit(2);
    disk_fail_everywhere(scratch, check, ret);
    nftw(folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

int main(int argc, char **argv)
{
    const bool mutant = argc > 1 && strcmp(argv[argc - 1], "--mutant") == 0;
    struct found found = {.one_is_enough = mutant};

    one_run(true, &found);
    one_run(false, &found);
    printf("%d states after a power failure, %d violations\n", found.states, found.violations);
    return mutant ? found.violations == 0 : found.violations > 0;
}
