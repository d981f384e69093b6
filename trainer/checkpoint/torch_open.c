/* The file is the reader's descriptor 0, its answer in safetensors form 1, its sentence when it fails 3, and 4 the second
 * file of an ONNX model, whose name is the reader's argument. Both are files
 * in memory, so that nobody waits for anybody. */
#include "trainer/checkpoint/torch_open.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ipc/base/count.h"
#include "ipc/base/err.h"
#include "ipc/base/fault.h"
#include "ipc/base/file.h"
#include "ipc/base/json.h"
#include "ipc/sandbox.h"
#include "trainer/checkpoint/onnx_file.h"
#include "trainer/checkpoint/torch_file.h"

#define VERB "read-torch"
#define SENTENCE_FD 3
#define DATA_FD 4
#define DATA_END ".data" /* PyTorch puts tensors into FILE.data */
#define CPU_SECONDS 600
#define DATA_FLOOR ((rlim_t)1 << 30) /* bytes; several times the file's at least */
#define DATA_TIMES 8

enum { STATUS_DONE, STATUS_BAD, STATUS_UNSUPPORTED, STATUS_MEMORY };

/* ---- the reader ---- */

int tr_torch_sandbox_enter(struct im_sandbox_state *ret, struct im_text *text)
{
    const struct im_sandbox wanted = {.folder = NULL};

    return im_sandbox_enter(&wanted, ret, text);
}

/* A lower limit of the user's stays. */
static void set_limits(off_t file_bytes)
{
    const rlim_t times = DATA_TIMES * (rlim_t)file_bytes, most = times > DATA_FLOOR ? times : DATA_FLOOR;
    const struct rlimit data = {most, most}, cpu = {CPU_SECONDS, CPU_SECONDS}, core = {0, 0};

    if (!IM_SANITIZED)
        setrlimit(RLIMIT_DATA, &data);
    setrlimit(RLIMIT_CPU, &cpu);
    setrlimit(RLIMIT_CORE, &core);
}

static int write_all(int fd, const void *bytes, size_t n)
{
    while (n > 0) {
        const ssize_t done = write(fd, bytes, n);

        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return done < 0 ? -errno : -EIO;
        bytes = (const char *)bytes + done;
        n -= (size_t)done;
    }
    return 0;
}

static int write_answer(void *context, const void *bytes, size_t n, struct im_text *text)
{
    const int err = write_all(STDOUT_FILENO, bytes, n);

    (void)context;
    return err < 0 ? im_fail(text, err, "its tensors cannot be passed on: %s", strerror(-err)) : 0;
}

/* What libraries would open files for. */
static void prepare_libraries(void)
{
    struct im_json *j = im_json_object(); /* jansson's hash, from /dev/urandom */

    im_json_free(&j);
    setenv("TZ", "UTC0", 1); /* for the dates in an archive: /etc/localtime */
    tzset();
}

/* The second file. One that is not there, or empty, has no bytes. */
static int map_data(const char *name, struct tr_onnx_data *ret, struct im_text *text)
{
    struct stat st;
    void *bytes;

    *ret = (struct tr_onnx_data){.name = name};
    if (!name || fstat(DATA_FD, &st) < 0 || st.st_size <= 0)
        return 0;
    bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, DATA_FD, 0);
    if (bytes == MAP_FAILED)
        return im_fail(text, -ENOMEM, "%.300s cannot be mapped: %s", name, strerror(errno));
    ret->bytes = bytes;
    ret->n = (size_t)st.st_size;
    return 0;
}

static int read_input(const char *data_name, struct im_text *text)
{
    const struct tr_sink sink = {.write = write_answer};
    struct im_sandbox_state sandbox;
    struct tr_onnx_data data;
    struct stat st;
    void *bytes;
    int err;

    if (fstat(STDIN_FILENO, &st) < 0 || st.st_size <= 0)
        return im_fail(text, -EBADMSG, "it is empty");
    err = map_data(data_name, &data, text);
    if (err < 0)
        return err;
    set_limits(st.st_size + (off_t)data.n);
    bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, STDIN_FILENO, 0);
    if (bytes == MAP_FAILED)
        return im_fail(text, -ENOMEM, "it cannot be mapped: %s", strerror(errno));
    prepare_libraries();
    err = tr_torch_sandbox_enter(&sandbox, text);
    IM_FAULT("torch.reading");
    if (err < 0)
        return err;
    if (tr_onnx_is(bytes, (size_t)st.st_size))
        return tr_onnx_convert(bytes, (size_t)st.st_size, data.bytes ? &data : NULL, &sink, text);
    return tr_torch_convert(bytes, (size_t)st.st_size, &sink, text);
}

bool tr_is_torch_reader(int argc, char **argv)
{
    return (argc == 2 || argc == 3) && strcmp(argv[1], VERB) == 0;
}

void tr_torch_reader(const char *data_name)
{
    struct im_text text = {""};
    const int err = read_input(data_name, &text);

    if (err < 0)
        (void)write_all(SENTENCE_FD, text.s, strlen(text.s));
    /* Not through the ends of libraries, which are unaware of the sandbox. */
    _exit(err == 0          ? STATUS_DONE
          : err == -ENOTSUP ? STATUS_UNSUPPORTED
          : err == -ENOMEM  ? STATUS_MEMORY
                            : STATUS_BAD);
}

/* ---- who asks ---- */

struct reading {
    int file, answer, sentence, data; /* descriptors; -1: none */
    const char *data_name;
};

static int start_parser(const struct reading *r, pid_t *ret_pid, struct im_text *text)
{
    static const char program[] = "imsuper-trainer", self[] = "/proc/self/exe";
    char path[PATH_MAX], verb[] = VERB;
    char *argv[] = {path, verb, (char *)r->data_name, NULL};
    ssize_t length = readlink(self, path, sizeof path - 32);
    posix_spawn_file_actions_t actions;
    bool is_self;
    char *name;
    int err;

    path[length > 0 ? length : 0] = '\0';
    name = strrchr(path, '/');
    name = name ? name + 1 : path;
    is_self = strncmp(name, program, sizeof program - 1) == 0; /* " (deleted)" may follow */
    snprintf(name, 32, "%s", program);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, r->file, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, r->answer, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, r->sentence, SENTENCE_FD);
    if (r->data >= 0)
        posix_spawn_file_actions_adddup2(&actions, r->data, DATA_FD);
    err = posix_spawn(ret_pid, is_self ? self : path, &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    return err ? im_fail(text, -err, "cannot run %.500s, which reads such files: %s", path, strerror(err))
               : 0;
}

/* All of a file in memory, with a NUL behind it. */
static char *read_back(int fd, size_t most, size_t *ret_n)
{
    struct stat st;
    char *bytes;
    size_t n = 0;
    ssize_t got = 1;

    if (fstat(fd, &st) < 0 || st.st_size < 0 || (uint64_t)st.st_size > most)
        return NULL;
    bytes = malloc((size_t)st.st_size + 1);
    while (bytes && got > 0 && n < (size_t)st.st_size) {
        got = pread(fd, bytes + n, (size_t)st.st_size - n, (off_t)n);
        n += got > 0 ? (size_t)got : 0;
    }
    if (bytes)
        bytes[n] = '\0';
    *ret_n = n;
    return bytes;
}

static int fail_reader(const char *path, const struct reading *r, int status, struct im_text *text)
{
    static const int errors[] = {
        [STATUS_BAD] = -EBADMSG, [STATUS_UNSUPPORTED] = -ENOTSUP, [STATUS_MEMORY] = -ENOMEM};
    size_t n = 0;
    char *sentence;
    int err = -EBADMSG;

    if (!WIFEXITED(status))
        return im_fail(
            text, err,
            "%.300s: the process that reads it died of signal %d; it is damaged, or made to do harm", path,
            WTERMSIG(status));
    if (WEXITSTATUS(status) < (int)IM_COUNT(errors) && errors[WEXITSTATUS(status)])
        err = errors[WEXITSTATUS(status)];
    sentence = read_back(r->sentence, 4096, &n);
    im_fail(text, err, "%.300s: %.600s", path, sentence && n ? sentence : "it could not be read");
    free(sentence);
    return err;
}

static int take_answer(const char *path, const struct reading *r, struct tr_safetensors **ret,
                       struct im_text *text)
{
    pid_t pid;
    char *bytes;
    size_t n = 0;
    int status = 0, err = start_parser(r, &pid, text);

    if (err < 0)
        return err;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return im_fail(text, -errno, "%.300s: cannot wait for the process that reads it: %s", path,
                           strerror(errno));
    if (!WIFEXITED(status) || WEXITSTATUS(status) != STATUS_DONE)
        return fail_reader(path, r, status, text);
    bytes = read_back(r->answer, TR_SAFETENSORS_BYTES_MAX, &n);
    if (!bytes)
        return im_fail(text, -ENOMEM, "%.300s: out of memory for its tensors", path);
    err = tr_safetensors_take(path, bytes, n, ret, text);
    if (err < 0)
        free(bytes);
    return err;
}

/* FILE.data beside an ONNX file; where it is none, the file itself has to have all. */
static void open_data(const char *path, struct reading *r, char name[PATH_MAX])
{
    struct stat st;
    int fd;

    if (snprintf(name, PATH_MAX, "%s" DATA_END, path) >= PATH_MAX)
        return;
    fd = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
        r->data = fcntl(fd, F_DUPFD_CLOEXEC, DATA_FD + 1); /* behind those that are given places before it */
    close(fd);
    r->data_name = r->data < 0 ? NULL : strrchr(name, '/') ? strrchr(name, '/') + 1 : name;
}

/* By its first bytes: JPEG, PNG, GIF, WebP, a JSON text or any other text. A safetensors file begins with the length of its
 * header, and then the header. */
static bool is_something_else(const unsigned char *first, size_t n)
{
    static const char *const begins[] = {"\xff\xd8\xff", "\x89PNG", "GIF8", "RIFF"};
    size_t printable = 0;

    for (size_t i = 0; i < IM_COUNT(begins); i++)
        if (n >= strlen(begins[i]) && memcmp(first, begins[i], strlen(begins[i])) == 0)
            return true;
    for (size_t i = 0; i < 8 && i < n; i++)
        printable += (first[i] >= ' ' && first[i] < 0x7f) || strchr("\t\r\n", first[i] ? first[i] : 'x');
    return n > 0 && printable == (n < 8 ? n : 8);
}

int tr_weights_open(const char *path, struct tr_safetensors **ret, struct im_text *text)
{
    struct reading r = {.answer = -1, .sentence = -1, .data = -1};
    unsigned char first[16];
    char data_name[PATH_MAX];
    struct stat st;
    ssize_t n;
    int err;

    r.file = im_open_regular(path, &st, text);
    if (r.file < 0)
        return r.file;
    n = pread(r.file, first, sizeof first, 0);
    if (n <= 0 || !(tr_torch_is(first, (size_t)n) || tr_onnx_is(first, (size_t)n))) {
        close(r.file);
        return n > 0 && is_something_else(first, (size_t)n)
                   ? im_fail(text, -EBADMSG,
                             "%.700s is no file of weights: none of safetensors, .pt, .pth, ONNX%s", path,
                             first[0] == '{' || first[0] == '[' ? " (it looks like JSON)"
                             : first[0] >= 0x80                 ? " (it looks like an image)"
                                                                : "")
                   : tr_safetensors_open(path, ret, text);
    }
    if (tr_onnx_is(first, (size_t)n))
        open_data(path, &r, data_name);
    r.answer = memfd_create("imsuper-weights", MFD_CLOEXEC);
    r.sentence = memfd_create("imsuper-sentence", MFD_CLOEXEC);
    if (r.answer < 0 || r.sentence < 0)
        err = im_fail(text, -errno, "%.300s: no file in memory: %s", path, strerror(errno));
    else
        err = take_answer(path, &r, ret, text);
    close(r.file);
    if (r.data >= 0)
        close(r.data);
    if (r.answer >= 0)
        close(r.answer);
    if (r.sentence >= 0)
        close(r.sentence);
    return err;
}
