/* TensorBoard's event file, read by a decoder of its own: frames, checksums, numbers of fields; and that each step is
 * there once, whatever happens to what the file is made from. TensorBoard itself was seen to read such files. */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "ipc/first_batch.h"
#include "supervisor/report/tb_event.h"
#include "supervisor/report/tensorboard.h"
#include "tests/unit/ipc/base/unit.h"

#define CONFIG "lr: 0.1  # flag\nmodel: resnet20  # default\n"
#define STEP(n, loss)                                                                                        \
    "{\"step\":" #n ",\"epoch\":0,\"split\":\"train\",\"loss\":" #loss ",\"lr\":0.1,\"time\":1000.5}\n"
#define EPOCH(n, e, loss)                                                                                    \
    "{\"event\":\"epoch\",\"step\":" #n ",\"epoch\":" #e ",\"val_loss\":" #loss ",\"lr\":0.1,\"time\":1001}" \
    "\n"
#define STAGE(n, rate) "{\"time\":1002,\"step\":" #n ",\"read\":{\"rate\":" #rate "}}\n"

static void put(const char *folder, const char *name, const char *content)
{
    char path[PATH_MAX], next[PATH_MAX];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", folder, name);
    snprintf(next, sizeof next, "%s/.next", folder);
    f = fopen(next, "we");
    assert_non_null(f);
    fputs(content, f);
    fclose(f);
    assert_int_equal(rename(next, path), 0);
}

static void add(const char *folder, const char *name, const char *content)
{
    char path[PATH_MAX];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", folder, name);
    f = fopen(path, "ae");
    assert_non_null(f);
    fputs(content, f);
    fclose(f);
}

/* Fields of a message. */
struct message {
    const unsigned char *at, *end;
};

static uint64_t varint(struct message *m)
{
    uint64_t v = 0;

    for (int shift = 0;; shift += 7) {
        unsigned char byte;

        assert_true(m->at < m->end && shift < 64);
        byte = *m->at++;
        v |= (uint64_t)(byte & 127) << shift;
        if (byte < 128)
            return v;
    }
}

/* The next field of that number; its bytes, or in *ret_value what it holds. */
static bool next_field(struct message *m, unsigned wanted, struct message *ret, uint64_t *ret_value)
{
    while (m->at < m->end) {
        const uint64_t key = varint(m);
        uint64_t value = 0, n = 0;

        switch (key & 7) {
        case 0:
            value = varint(m);
            break;
        case 1:
            n = 8;
            break;
        case 2:
            n = varint(m);
            break;
        case 5:
            n = 4;
            break;
        default:
            fail_msg("a field of type %d", (int)(key & 7));
        }
        assert_true(n <= (uint64_t)(m->end - m->at));
        m->at += n;
        if (key >> 3 != wanted)
            continue;
        *ret = (struct message){m->at - n, m->at};
        *ret_value = value;
        return true;
    }
    return false;
}

static struct message field(struct message m, unsigned number, uint64_t *ret_value)
{
    struct message f = {NULL, NULL};

    *ret_value = 0;
    next_field(&m, number, &f, ret_value);
    return f;
}

/* What a file holds: "TAG@STEP=VALUE " for each scalar, "TAG@STEP " for others, in their order. */
static void describe(const char *path, char *ret, size_t room)
{
    unsigned char bytes[65536];
    const unsigned char *record;
    FILE *f = fopen(path, "re");
    size_t n, length, took, at = 0, used = 0;

    assert_non_null(f);
    n = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    ret[0] = 0;
    for (; at < n; at += took) {
        struct message event, summary, value;
        uint64_t step, none;

        took = sv_record_next(bytes + at, n - at, &record, &length);
        assert_true(took > 0);
        event = (struct message){record, record + length};
        field(event, 2, &step);
        summary = field(event, 5, &none);
        while (summary.at && next_field(&summary, 1, &value, &none)) {
            struct message tag = field(value, 1, &none), number = field(value, 2, &none);
            float v = 0;

            used += (size_t)snprintf(ret + used, room - used, "%.*s@%llu", (int)(tag.end - tag.at), tag.at,
                                     (unsigned long long)step);
            if (number.at) {
                assert_int_equal(number.end - number.at, sizeof v);
                memcpy(&v, number.at, sizeof v);
                used += (size_t)snprintf(ret + used, room - used, "=%g", (double)v);
            }
            used += (size_t)snprintf(ret + used, room - used, " ");
        }
    }
}

/* The one file in the folder. */
static void find_one(const char *folder, char ret[PATH_MAX])
{
    char path[PATH_MAX];
    DIR *d;
    struct dirent *entry;
    int count = 0;

    snprintf(path, sizeof path, "%s/tensorboard", folder);
    d = opendir(path);
    assert_non_null(d);
    while ((entry = readdir(d)))
        if (entry->d_name[0] != '.') {
            assert_int_equal(strncmp(entry->d_name, "events.out.tfevents.", 20), 0);
            snprintf(ret, PATH_MAX, "%s/tensorboard/%.200s", folder, entry->d_name);
            count++;
        }
    closedir(d);
    assert_int_equal(count, 1);
}

static void must_hold(const char *folder, const char *expected)
{
    char path[PATH_MAX], found[8192], whole[8192];

    find_one(folder, path);
    describe(path, found, sizeof found);
    snprintf(whole, sizeof whole, "_hparams_/session_start_info@0 configuration@0 %s", expected);
    assert_string_equal(found, whole);
}

static void update(struct sv_tensorboard *t)
{
    struct im_text text = {""};

    if (sv_tensorboard_update(t, &text) < 0)
        fail_msg("%s", text.s);
}

static void a_record_is_what_the_format_says(void **state)
{
    /* Event(wall_time=1.5, step=7) with "a/b" = 0.25, as TensorBoard 2.21's own code writes it. */
    static const unsigned char expected[] = {0x19, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x8b, 0xf1, 0x08,
                                             0x28, 0x09, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xf8, 0x3f, 0x10,
                                             0x07, 0x2a, 0x0c, 0x0a, 0x0a, 0x0a, 0x03, 0x61, 0x2f, 0x62, 0x15,
                                             0x00, 0x00, 0x80, 0x3e, 0x6b, 0x4d, 0xbd, 0x8e};
    const struct sv_tb_scalar scalar = {"a/b", 0.25};
    struct sv_records r = {0};

    (void)state;
    sv_tb_scalars(&r, 1.5, 7, &scalar, 1);
    assert_int_equal(r.n, sizeof expected);
    assert_memory_equal(r.bytes, expected, sizeof expected);
    sv_records_free(&r);
}

static void lines_become_scalars_and_the_file_grows(void **state)
{
    struct sv_tensorboard t;
    char before[PATH_MAX], after[PATH_MAX];

    sv_tensorboard_init(&t, *state);
    update(&t); /* no config.yaml yet: nothing */
    put(*state, "config.yaml", CONFIG);
    put(*state, "metrics.jsonl", "{\"event\":\"config\"}\n" STEP(20, 2.5));
    update(&t);
    must_hold(*state, "train/loss@20=2.5 train/lr@20=0.1 ");
    find_one(*state, before);
    add(*state, "metrics.jsonl", STEP(40, 2) EPOCH(40, 1, 3) EPOCH(50, 2, 1) "{\"step\":60,");
    add(*state, "stages.jsonl", STAGE(45, 100));
    update(&t);
    update(&t);
    must_hold(*state, "train/loss@20=2.5 train/lr@20=0.1 train/loss@40=2 train/lr@40=0.1 val/loss@40=3 "
                      "val/loss@50=1 train/lr@50=0.1 stage/read/rate@45=100 ");
    find_one(*state, after);
    assert_string_equal(before, after);
    sv_tensorboard_close(&t);
}

/* A trainer went back to step 20, another supervisor came, and the run was continued. */
static void steps_that_are_done_again_are_there_once(void **state)
{
    struct sv_tensorboard t, next;
    char before[PATH_MAX], after[PATH_MAX];

    put(*state, "config.yaml", CONFIG);
    put(*state, "metrics.jsonl", STEP(20, 2.5) STEP(40, 2));
    put(*state, "stages.jsonl", STAGE(10, 1) STAGE(40, 2));
    sv_tensorboard_init(&t, *state);
    update(&t);
    find_one(*state, before);
    put(*state, "metrics.jsonl", STEP(20, 2.5));
    add(*state, "stages.jsonl", STAGE(30, 3));
    update(&t);
    must_hold(*state, "train/loss@20=2.5 train/lr@20=0.1 stage/read/rate@10=1 stage/read/rate@30=3 ");
    find_one(*state, after);
    assert_true(strcmp(after, before) > 0); /* who follows the folder comes to it next */
    add(*state, "stages.jsonl", STAGE(20, 4));
    update(&t);
    must_hold(*state, "train/loss@20=2.5 train/lr@20=0.1 stage/read/rate@10=1 stage/read/rate@20=4 ");
    sv_tensorboard_init(&next, *state);
    add(*state, "metrics.jsonl", STEP(40, 1));
    update(&next);
    must_hold(*state,
              "train/loss@20=2.5 train/lr@20=0.1 train/loss@40=1 train/lr@40=0.1 stage/read/rate@10=1 "
              "stage/read/rate@20=4 ");
    sv_tensorboard_close(&t);
    sv_tensorboard_close(&next);
}

static void put_weights(const char *folder, int step)
{
    const float values[] = {1, 2, 3, 5};
    char header[256], path[PATH_MAX];
    uint64_t n =
        (uint64_t)snprintf(header, sizeof header,
                           "{\"__metadata__\":{\"step\":\"%d\"},\"w\":{\"dtype\":\"F32\",\"shape\":[4],"
                           "\"data_offsets\":[0,16]},\"far\":{\"dtype\":\"F32\",\"shape\":[4],"
                           "\"data_offsets\":[16,32]}}",
                           step);
    FILE *f;

    snprintf(path, sizeof path, "%s/checkpoints", folder);
    mkdir(path, 0777);
    snprintf(path, sizeof path, "%s/checkpoints/last.safetensors", folder);
    f = fopen(path, "we");
    assert_non_null(f);
    fwrite(&n, sizeof n, 1, f);
    fwrite(header, 1, n, f);
    fwrite(values, sizeof values, 1, f);
    fclose(f);
}

static void histograms_of_weights_outlive_what_they_were_made_from(void **state)
{
    struct sv_tensorboard t, next;

    put(*state, "config.yaml", CONFIG);
    put(*state, "metrics.jsonl", STEP(20, 2.5) STEP(40, 2));
    put_weights(*state, 40);
    sv_tensorboard_init(&t, *state);
    update(&t);
    must_hold(*state, "train/loss@20=2.5 train/lr@20=0.1 train/loss@40=2 train/lr@40=0.1 weights/w@40 ");
    put_weights(*state, 60); /* too soon after the last, and of a step that no line has */
    update(&t);
    sv_tensorboard_init(&next, *state);
    update(&next);
    must_hold(*state, "train/loss@20=2.5 train/lr@20=0.1 train/loss@40=2 train/lr@40=0.1 weights/w@40 ");
    put(*state, "metrics.jsonl", STEP(20, 2.5));
    update(&next);
    must_hold(*state, "train/loss@20=2.5 train/lr@20=0.1 ");
    sv_tensorboard_close(&t);
    sv_tensorboard_close(&next);
}

/* The first batch once, and the confusion matrix of each epoch that has one, also in a file that is written anew. */
static void pictures_are_in_the_file(void **state)
{
    const struct im_first_batch head = {IM_FIRST_BATCH_MAGIC, 2, 2};
    const int32_t labels[2] = {1, -1};
    const uint8_t pixels[2 * 2 * 2 * 3] = {255};
    const char *const expected =
        "train/loss@20=2.5 train/lr@20=0.1 val/loss@40=3 train/lr@40=0.1 "
        "val/confusion@40 val_ema/confusion@40 val/loss@60=2 train/lr@60=0.1 train/first_batch@0 ";
    struct sv_tensorboard t, next;
    char path[PATH_MAX];
    FILE *f;

    put(*state, "config.yaml", CONFIG);
    put(*state, "classes.txt", "a\nb\n");
    snprintf(path, sizeof path, "%s/per_class", (const char *)*state);
    assert_int_equal(mkdir(path, 0777), 0);
    put(*state, "per_class/confusion_001.csv", "true,predicted,images\n0,0,3\n0,1,1\n9,0,1\n");
    put(*state, "per_class/confusion_001.ema.csv", "true,predicted,images\n0,0,4\n");
    put(*state, "metrics.jsonl", STEP(20, 2.5) EPOCH(40, 1, 3) EPOCH(60, 2, 2));
    snprintf(path, sizeof path, "%s/" IM_FIRST_BATCH_FILE, (const char *)*state);
    f = fopen(path, "we");
    assert_non_null(f);
    fwrite(&head, sizeof head, 1, f);
    fwrite(labels, sizeof labels, 1, f);
    fwrite(pixels, sizeof pixels, 1, f);
    fclose(f);
    sv_tensorboard_init(&t, *state);
    update(&t);
    must_hold(*state, expected);
    assert_int_equal(access(path, F_OK), -1); /* drawn */
    update(&t);
    must_hold(*state, expected);
    sv_tensorboard_init(&next, *state);
    update(&next);
    must_hold(*state, expected);
    sv_tensorboard_close(&t);
    sv_tensorboard_close(&next);
}

static void what_a_full_disk_took_is_written_later(void **state)
{
    struct sv_tensorboard t;
    struct im_text text = {""};
    struct rlimit limit, small;
    char path[PATH_MAX];
    struct stat st;

    signal(SIGXFSZ, SIG_IGN);
    put(*state, "config.yaml", CONFIG);
    put(*state, "metrics.jsonl", STEP(20, 2.5));
    sv_tensorboard_init(&t, *state);
    update(&t);
    find_one(*state, path);
    assert_int_equal(stat(path, &st), 0);
    add(*state, "metrics.jsonl", STEP(40, 2));
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    small = (struct rlimit){(rlim_t)st.st_size + 5, limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    assert_int_equal(sv_tensorboard_update(&t, &text), -EFBIG);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    assert_non_null(strstr(text.s, "cannot write to tensorboard/"));
    must_hold(*state, "train/loss@20=2.5 train/lr@20=0.1 ");
    update(&t);
    must_hold(*state, "train/loss@20=2.5 train/lr@20=0.1 train/loss@40=2 train/lr@40=0.1 ");
    unlink(path); /* somebody tidies up */
    update(&t);
    must_hold(*state, "train/loss@20=2.5 train/lr@20=0.1 train/loss@40=2 train/lr@40=0.1 ");
    sv_tensorboard_close(&t);
}

static void files_of_others_stay_and_damage_ends_a_file(void **state)
{
    struct sv_tensorboard t;
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%s/tensorboard", (const char *)*state);
    mkdir(path, 0777);
    put(*state, "tensorboard/events.out.tfevents.1.host", "not ours");
    put(*state, "tensorboard/events.out.tfevents.9999999999.host.1.imsuper", "no record");
    put(*state, "config.yaml", CONFIG);
    put(*state, "metrics.jsonl", STEP(20, 2.5));
    sv_tensorboard_init(&t, *state);
    update(&t);
    snprintf(path, sizeof path, "%s/tensorboard/events.out.tfevents.1.host", (const char *)*state);
    assert_int_equal(unlink(path), 0);
    must_hold(*state, "train/loss@20=2.5 train/lr@20=0.1 ");
    sv_tensorboard_close(&t);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_directory, remove_directory)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_is_what_the_format_says),
        IN_FOLDER(lines_become_scalars_and_the_file_grows),
        IN_FOLDER(steps_that_are_done_again_are_there_once),
        IN_FOLDER(histograms_of_weights_outlive_what_they_were_made_from),
        IN_FOLDER(pictures_are_in_the_file),
        IN_FOLDER(what_a_full_disk_took_is_written_later),
        IN_FOLDER(files_of_others_stay_and_damage_ends_a_file),
    };

    return cmocka_run_group_tests_name("tensorboard", tests, NULL, NULL);
}
