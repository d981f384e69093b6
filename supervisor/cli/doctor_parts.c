/* The part of `imsuper doctor` that tries things: imsuper's programs, shared memory, the workspace, the data set. */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "ipc/base/count.h"
#include "ipc/base/json.h"
#include "ipc/base/sysinfo.h"
#include "ipc/shm.h"
#include "supervisor/cli/data_flags.h"
#include "supervisor/cli/doctor.h"
#include "supervisor/cli/gpus.h"
#include "supervisor/cli/program.h"

#define GIB ((uint64_t)1 << 30)

enum {
    ANSWER_BYTES = 65536,
    TIMEOUT_MS = 120000,
    SHM_BYTES = 1 << 20,
    SLOW_DISK_MB = 50, /* a second: 400 photos of 120 KB; of small files their number counts */
    SLOW_DISK_IMAGES = 1000,
    SAMPLE_DECODED = 128,
    SAMPLE_READ = 512
};

static const char install_again[] = "install imsuper again: all its programs in one folder, from one build";

/* "jpeg 62.3.0" of "/lib/x86_64-linux-gnu/libjpeg.so.62": what the file that the link leads to is called. */
static void describe_library(const char *path, char *ret, size_t n)
{
    char real[PATH_MAX];
    const char *name = realpath(path, real) ? strrchr(real, '/') : NULL, *so;

    ret[0] = '\0';
    name = name && strncmp(name + 1, "lib", 3) == 0 ? name + 4 : NULL;
    so = name ? strstr(name, ".so.") : NULL;
    if (so)
        snprintf(ret, n, "%.*s %s", (int)(so - name), name, so + 4);
}

/* Of what stands on a line "\tlibjpeg.so.62 => /lib/libjpeg.so.62 (0x7f...)". */
static void take_library(char *line, char *known, char *missing, size_t n)
{
    static const char *const shown[] = {"jpeg",  "png16",   "webp",   "tiff",  "gif",    "openjp2",
                                        "avif",  "dnnl",    "gloo",   "zmq",   "uring",  "seccomp",
                                        "cairo", "jansson", "xxhash", "hwloc", "archive"};
    char *arrow = strstr(line, " => "), about[128];

    if (!arrow)
        return;
    *arrow = '\0';
    line += strspn(line, " \t");
    arrow += 4;
    if (strncmp(arrow, "not found", 9) == 0) {
        snprintf(missing + strlen(missing), n - strlen(missing), "%s%s", *missing ? ", " : "", line);
        return;
    }
    arrow[strcspn(arrow, " ")] = '\0';
    describe_library(arrow, about, sizeof about);
    for (size_t i = 0; i < IM_COUNT(shown); i++)
        if (strncmp(about, shown[i], strlen(shown[i])) == 0 && about[strlen(shown[i])] == ' ')
            snprintf(known + strlen(known), n - strlen(known), "%s%s", *known ? ", " : "", about);
}

void sv_doctor_libraries(const char *program, const char *said, struct sv_checks *checks)
{
    char *text = strdup(said), *next = text, *line, known[700] = "", missing[700] = "";

    while (text && (line = strsep(&next, "\n")))
        take_library(line, known, missing, sizeof known);
    free(text);
    if (missing[0])
        sv_check_add(
            checks, program, SV_CHECK_FAIL,
            "apt-get install the packages that hold them (`apt-file search NAME`; the list is in quickstart)",
            "libraries are missing: %s", missing);
    else
        sv_check_add(checks, program, SV_CHECK_OK, NULL, "%s", known[0] ? known : "needs no shared library");
}

/* A program of imsuper: is it there, of this build, and are its libraries? */
static void check_program(const char *name, struct sv_checks *checks)
{
    char path[PATH_MAX], flag[] = "--version", answer[ANSWER_BYTES], expected[512];
    char *argv[] = {path, flag, NULL};
    int status;

    sv_program_find(name, path, sizeof path);
    if (access(path, X_OK) < 0) {
        sv_check_add(checks, name, SV_CHECK_FAIL, install_again, "%.600s: %s", path, strerror(errno));
        return;
    }
    setenv("LD_TRACE_LOADED_OBJECTS", "1", 1);
    status = sv_program_read((char *[]){path, NULL}, TIMEOUT_MS, answer, sizeof answer);
    unsetenv("LD_TRACE_LOADED_OBJECTS");
    if (status != 0 || strstr(answer, "not found")) {
        sv_doctor_libraries(name, answer, checks);
        return;
    }
    sv_doctor_libraries(name, answer, checks);
    status = sv_program_read(argv, TIMEOUT_MS, answer, sizeof answer);
    snprintf(expected, sizeof expected, "%s %s (%s)\n", name, IMSUPER_VERSION, im_build_id());
    if (status != 0 || strcmp(answer, expected) != 0) {
        checks->count--;
        answer[strcspn(answer, "\n")] = '\0';
        sv_check_add(checks, name, SV_CHECK_FAIL, install_again,
                     status ? "it does not start (status %d)"
                            : "it is of another build than imsuper (status %d): %.400s",
                     status, answer);
    }
}

void sv_doctor_programs(struct sv_checks *checks)
{
    check_program("imsuper-reader", checks);
    check_program("imsuper-augmenter", checks);
    check_program("imsuper-trainer", checks);
#ifdef IMSUPER_CURL
    check_program("imsuper-fetcher", checks);
#endif
}

void sv_doctor_gpus(struct sv_checks *checks)
{
    struct sv_gpus *found = calloc(1, sizeof *found);

    if (!found)
        return;
    sv_gpus_find(found);
    if (found->code == SV_GPUS_FAILED)
        sv_check_add(checks, "gpu", SV_CHECK_FAIL, "nvidia-smi", "%s", found->why.s);
    else if (found->code == SV_GPUS_NO_MODULE && access("/proc/driver/nvidia/version", F_OK) == 0)
        sv_check_add(
            checks, "gpu", SV_CHECK_WARN,
            "install CUDA and cuDNN and build again (docs/gpus.md), or install the package imsuper-cuda",
            "this machine has an NVIDIA driver, and %s", found->why.s);
    else if (found->code != SV_GPUS_OK)
        sv_check_add(checks, "gpu", SV_CHECK_SKIP, NULL, "%s", found->why.s);
    else if (!found->nccl && found->count > 1)
        sv_check_add(checks, "gpu", SV_CHECK_WARN, "apt-get install libnccl2, and docs/gpus.md",
                     "%d x %s, of which a run can use one: %s", found->count, found->gpu[0].name,
                     found->no_nccl.s);
    else
        sv_check_add(checks, "gpu", SV_CHECK_OK, NULL, "%d x %s; CUDA %s, driver for CUDA %s%s", found->count,
                     found->gpu[0].name, found->runtime, found->driver, found->nccl ? ", NCCL works" : "");
    free(found);
}

static void check_rings(struct sv_checks *checks)
{
    struct im_segment segment;
    struct im_text why = {""};
    int err = im_segment_create("a check", SHM_BYTES, &segment, &why);

    if (err < 0) {
        sv_check_add(checks, "rings", SV_CHECK_FAIL,
                     err == -EFBIG ? "ulimit -f unlimited" : "df -h /dev/shm; free -m", "%s", why.s);
        return;
    }
    im_segment_close(&segment);
    sv_check_add(checks, "rings", SV_CHECK_OK, NULL, "shared memory can be reserved");
}

/* The folder that is there: the workspace, or the first above it. */
static void existing_folder(const char *workspace, char *path, size_t n)
{
    char *slash;

    snprintf(path, n, "%s", workspace);
    while (access(path, F_OK) < 0 && errno == ENOENT && (slash = strrchr(path, '/')) && slash > path)
        *slash = '\0';
    if (access(path, F_OK) < 0 && errno == ENOENT && !strchr(path + 1, '/'))
        snprintf(path, n, "%s", path[0] == '/' ? "/" : ".");
}

static void check_workspace(const struct im_conf *conf, struct sv_checks *checks)
{
    char path[PATH_MAX];
    struct statvfs fs;
    uint64_t bytes;

    existing_folder(conf->workspace, path, sizeof path);
    if (access(path, W_OK | X_OK) < 0 || statvfs(path, &fs) < 0) {
        sv_check_add(checks, "workspace", SV_CHECK_FAIL,
                     "imsuper start --workspace DIR, or chmod u+wx of this folder", "%.400s: %s", path,
                     strerror(errno));
        return;
    }
    bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (bytes < 5 * GIB)
        sv_check_add(checks, "workspace", bytes < GIB / 4 ? SV_CHECK_FAIL : SV_CHECK_WARN,
                     "imsuper start --workspace DIR on a disk with room, or lower --checkpoint-keep",
                     "%.2f GiB are free in %.400s; checkpoints of a resnet50 take 1.3 GiB",
                     (double)bytes / (double)GIB, path);
    else
        sv_check_add(checks, "workspace", SV_CHECK_OK, NULL, "%.0f GiB are free in %.400s",
                     (double)bytes / (double)GIB, path);
}

void sv_doctor_room(const struct im_conf *conf, struct sv_checks *checks)
{
    check_rings(checks);
    check_workspace(conf, checks);
}

/* As sv_ask_data(), with a sample of so many images; 0: without. */
static int ask(const struct im_conf *conf, const char *program, const char *words, int sample,
               struct im_json **ret)
{
    char count[32];
    const char *more[] = {"--json", "--quiet", sample > 0 ? count : NULL, NULL};

    snprintf(count, sizeof count, "--sample=%d", sample);
    return sv_ask_data(conf, program, words, more, ret);
}

static bool check_index(const struct im_conf *conf, struct sv_checks *checks)
{
    struct im_json *j;
    const char *warning = "";
    int status = ask(conf, "imsuper-reader", "data measure", 0, &j);
    const int64_t train = im_json_int_or(j, "train", 0), val = im_json_int_or(j, "val", 0);

    if (status != 0 || !j)
        sv_check_add(checks, "data", SV_CHECK_FAIL, "imsuper data index --data-dir DIR",
                     "%.500s is no data set that imsuper can index; see the sentence above", conf->data_dir);
    else if (im_json_as_str(im_json_at(im_json_get(j, "warnings"), 0), &warning) == 0)
        sv_check_add(checks, "data", SV_CHECK_WARN,
                     val == 0 ? "imsuper start --data-dir DIR --val-split 0.1"
                              : "imsuper data index --data-dir DIR",
                     "%s", warning);
    else
        sv_check_add(checks, "data", SV_CHECK_OK, NULL,
                     "%" PRId64 " training and %" PRId64 " validation images of %" PRId64
                     " classes, layout %s",
                     train, val, im_json_int_or(j, "classes", 0), im_json_str_or(j, "layout", "?"));
    im_json_free(&j);
    return status == 0;
}

static void check_disk(const struct im_conf *conf, struct sv_checks *checks)
{
    struct im_json *j;
    int status = ask(conf, "imsuper-reader", "bench --cold --passes=2", SAMPLE_READ, &j);
    const double rate = im_json_real_or(j, "images_per_second", 0),
                 mb = im_json_real_or(j, "megabytes_per_second", 0);
    const double left = im_json_real_or(j, "still_cached", 0);

    if (status != 0 || !j)
        sv_check_add(checks, "disk", SV_CHECK_FAIL, "imsuper bench read --data-dir DIR --cold",
                     "the images cannot be read; see the sentence above");
    else if (left > 0.25)
        sv_check_add(
            checks, "disk", SV_CHECK_SKIP, NULL,
            "%.0f images/s; the files cannot be dropped from memory (tmpfs?), so this is no disk's rate",
            rate);
    else if (mb < SLOW_DISK_MB && rate < SLOW_DISK_IMAGES)
        sv_check_add(checks, "disk", SV_CHECK_WARN,
                     "copy the data to a local disk, or check that the memory holds it after the first epoch",
                     "%.0f images/s, %.1f MB/s from the disk: slower than training may take them", rate, mb);
    else
        sv_check_add(checks, "disk", SV_CHECK_OK, NULL, "%.0f images/s, %.0f MB/s from the disk, p99 %.1f ms",
                     rate, mb, im_json_real_or(j, "p99_ms", 0));
    im_json_free(&j);
}

static void check_sample(const struct im_conf *conf, struct sv_checks *checks)
{
    struct im_json *j;
    int status = ask(conf, "imsuper-augmenter", "verify", SAMPLE_DECODED, &j);
    const int64_t images = im_json_int_or(j, "images", 0), bad = im_json_int_or(j, "bad", 0);

    if (!j || images == 0)
        sv_check_add(checks, "sample", SV_CHECK_FAIL, "imsuper data verify --data-dir DIR",
                     "no image could be decoded (status %d)", status);
    else if (bad > 0)
        sv_check_add(checks, "sample", bad * 10 > images ? SV_CHECK_FAIL : SV_CHECK_WARN,
                     "imsuper data verify --data-dir DIR",
                     "%" PRId64 " of %" PRId64 " images cannot be decoded", bad, images);
    else
        sv_check_add(checks, "sample", SV_CHECK_OK, NULL, "%" PRId64 " images decoded", images);
    im_json_free(&j);
}

void sv_doctor_data(const struct im_conf *conf, struct sv_checks *checks)
{
    if (!*conf->data_dir) {
        sv_check_add(checks, "data", SV_CHECK_SKIP, NULL,
                     "--data-dir DIR checks a data set and its disk, too");
        return;
    }
    if (!check_index(conf, checks))
        return;
    check_disk(conf, checks);
    check_sample(conf, checks);
}
