/* See spawn.h. Between fork and exec only async-signal-safe calls are made. Children get their own process
 * group, so that Ctrl-C reaches the warden alone, and ignore the signals by which users speak to the run;
 * all others have their default dispositions, and none is blocked but fatal ones, until the program can tell who sent them. */
#include "supervisor/warden/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ipc/base/count.h"
#include "ipc/child.h"
#include "ipc/sent_signals.h"

/* Of /proc/PID/oom_score_adj, which goes from -1000 to 1000. */
#define OOM_AUGMENTER 800
#define OOM_READER 600
#define OOM_STEP 100 /* between roles, where the run itself was started with much */
#define OOM_MOST 1000

struct mapping {
    int from, to;
};

static int copy_high(int fd, uint32_t ranks)
{
    return fcntl(fd, F_DUPFD_CLOEXEC, IM_FD_BATCH + (int)ranks);
}

static int own_oom_score_adj(void)
{
    char text[16] = "";
    int fd = open("/proc/self/oom_score_adj", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);

    if (fd >= 0)
        close(fd);
    return n > 0 ? (int)strtol(text, NULL, 10) : 0;
}

/* Nonzero: not all. */
static int hold_programs(const struct sv_programs *from, uint32_t ranks, struct sv_programs *ret)
{
    int bad = 0;

    *ret = *from;
    for (int i = 0; i < SV_PROGRAMS; i++) {
        ret->fd[i] = from->fd[i] < 0 ? -1 : copy_high(from->fd[i], ranks);
        bad |= from->fd[i] >= 0 && ret->fd[i] < 0;
    }
    ret->module = from->module < 0 ? -1 : copy_high(from->module, ranks);
    return bad | (from->module >= 0 && ret->module < 0);
}

int sv_spawn_prepare(const struct im_run *run, const struct sv_warden_fds *fds, struct sv_spawn_fds *ret)
{
    struct sv_spawn_fds f = {.ranks = run->geometry.ranks, .readers = run->geometry.readers_max};
    struct sv_programs low = fds->programs;
    int bad, null;

    f.oom_score_adj = own_oom_score_adj();
    null = open("/dev/null", O_RDWR | O_CLOEXEC);
    f.control = copy_high(run->control_segment.fd, f.ranks);
    f.encoded = copy_high(run->encoded_segment.fd, f.ranks);
    f.lease_read = copy_high(fds->lease_read, f.ranks);
    f.lease_write = copy_high(fds->lease_write, f.ranks);
    f.log_read = copy_high(fds->log_read, f.ranks);
    f.log_write = copy_high(fds->log_write, f.ranks);
    f.snapshot = copy_high(fds->snapshot, f.ranks);
    f.lock = copy_high(fds->lock, f.ranks);
    f.index = fds->index < 0 ? -1 : copy_high(fds->index, f.ranks);
    f.pixels = fds->pixels < 0 ? -1 : copy_high(fds->pixels, f.ranks);
    f.meeting = fds->meeting < 0 ? -1 : copy_high(fds->meeting, f.ranks);
    f.listener = fds->listener < 0 ? -1 : copy_high(fds->listener, f.ranks);
    f.null = copy_high(null, f.ranks);
    f.kept = fds->kept;
    bad = null < 0 || f.control < 0 || f.encoded < 0 || f.lease_read < 0 || f.lease_write < 0 ||
          f.log_read < 0 || f.log_write < 0 || f.snapshot < 0 || f.lock < 0 || f.null < 0 ||
          (fds->index >= 0 && f.index < 0) || (fds->pixels >= 0 && f.pixels < 0) ||
          (fds->meeting >= 0 && f.meeting < 0) || (fds->listener >= 0 && f.listener < 0);
    for (uint32_t r = 0; r < f.ranks; r++) {
        f.batch[r] = copy_high(run->batch_segment[r].fd, f.ranks);
        bad |= f.batch[r] < 0;
    }
    bad |= hold_programs(&fds->programs, f.ranks, &f.programs);
    close(null);
    close(fds->lease_read);
    close(fds->lease_write);
    close(fds->log_read);
    close(fds->log_write);
    close(fds->snapshot);
    sv_programs_close(&low);
    if (fds->index >= 0)
        close(fds->index);
    if (fds->pixels >= 0)
        close(fds->pixels);
    if (fds->meeting >= 0)
        close(fds->meeting);
    if (fds->listener >= 0)
        close(fds->listener);
    *ret = f;
    return bad ? -EMFILE : 0;
}

/* A program to start, and as what. */
struct start {
    int program;      /* held open */
    const char *path; /* where it was found */
    char *const *argv;
    const struct mapping *map;
    size_t n;
    const struct sv_place *place; /* NULL for anywhere */
    const char *oom_score_adj;    /* NULL: as ours */
    const struct sv_kept *kept;   /* of a trainer; NULL: none */
};

/* May fail: then the kernel chooses by size alone. */
static void volunteer(const char *oom_score_adj)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

    if (fd < 0)
        return;
    if (write(fd, oom_score_adj, strlen(oom_score_adj)) < 0)
        errno = 0;
    close(fd);
}

/* In the child: never returns. */
static void become(const struct start *s)
{
    static const int ignored[] = {SIGPIPE, SIGXFSZ, SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2};
    struct sigaction action = {.sa_handler = SIG_DFL};

    for (int signo = 1; signo < 32; signo++)
        sigaction(signo, &action, NULL);
    /* What survives exec. Neither a log that nobody reads any more nor a file at its limit kills its
     * writer; and what a user asks
     * the run by a signal is the warden's to hear, also where it is sent to every process, as Slurm does. */
    action.sa_handler = SIG_IGN;
    for (size_t i = 0; i < IM_COUNT(ignored); i++)
        sigaction(ignored[i], &action, NULL);
    im_sent_signals_hold();
    setpgid(0, 0);
    if (s->place)
        sv_place_enter(s->place);
    if (s->oom_score_adj)
        volunteer(s->oom_score_adj);
    for (size_t i = 0; i < s->n; i++)
        if (dup2(s->map[i].from, s->map[i].to) < 0)
            _exit(IM_EXIT_FAILED);
    if (s->kept) /* here, for a disk may hang */
        sv_kept_restore(s->kept);
    /* What the run began with, whatever has its name now. A script is started by an interpreter that opens it by name,
     * and a kernel may lack the call. */
    syscall(SYS_execveat, s->program, "", s->argv, environ, AT_EMPTY_PATH);
    if (errno == ENOENT || errno == ENOSYS)
        execv(s->path, s->argv);
    _exit(127);
}

static int program_of(const struct sv_spawn_fds *f, enum sv_program program, char path[PATH_MAX])
{
    snprintf(path, PATH_MAX, "%s/%s", f->programs.directory, sv_program_name(program));
    return f->programs.fd[program];
}

static pid_t start_child(const struct start *s)
{
    sigset_t all, before;
    struct stat st;
    pid_t pid;

    if (fstat(s->program, &st) < 0)
        return -errno;
    if (!(st.st_mode & (S_IXUSR | S_IXGRP | S_IXOTH)))
        return -EACCES;
    /* OpenMP's threads must sleep at barriers, not spin: the cores are shared with augmenters by design. */
    setenv("OMP_WAIT_POLICY", "passive", 0);
    sigfillset(&all); /* become() lets in what may come */
    sigprocmask(SIG_SETMASK, &all, &before);
    pid = fork();
    if (pid == 0)
        become(s);
    sigprocmask(SIG_SETMASK, &before, NULL);
    return pid < 0 ? -errno : pid;
}

/* Readers and augmenters are counted through, so that both are spread. */
static const struct sv_place *place_of(const struct sv_spawn_fds *f, enum im_role role, uint32_t index)
{
    const struct sv_placement *p = f->placement;

    if (!p || !p->applies)
        return NULL;
    if (role == IM_ROLE_TRAINER)
        return index < p->ranks ? &p->trainer[index] : NULL;
    if (role == IM_ROLE_FETCHER) /* it waits for the network */
        return sv_placement_worker(p, 0);
    return sv_placement_worker(p, role == IM_ROLE_READER ? index : f->readers + index);
}

/* Whom the kernel is to end first when memory runs out: augmenters, then readers, whose deaths cost nothing;
 * trainers, supervisor and warden as the run was started. Raising is always allowed. NULL: leave it. */
static const char *oom_score_adj(const struct sv_spawn_fds *f, enum im_role role, char *buffer, size_t n)
{
    int least = role == IM_ROLE_AUGMENTER ? OOM_AUGMENTER : OOM_READER;
    int step = role == IM_ROLE_AUGMENTER ? 2 * OOM_STEP : OOM_STEP;
    int value = f->oom_score_adj + step > least ? f->oom_score_adj + step : least;

    if (role == IM_ROLE_TRAINER)
        return NULL;
    snprintf(buffer, n, "%d", value < OOM_MOST ? value : OOM_MOST);
    return buffer;
}

pid_t sv_spawn_role(const struct sv_spawn_fds *f, enum im_role role, uint32_t index, uint32_t incarnation)
{
    struct mapping map[9 + IM_RANKS_MAX] = {
        {f->null, 0},
        {f->log_write, 1},
        {f->log_write, 2},
        {f->control, IM_FD_CONTROL},
        {f->encoded, IM_FD_ENCODED},
        {f->lease_read, IM_FD_LEASE},
    };
    char path[PATH_MAX], index_text[16], incarnation_text[16], flag_index[] = "--index",
                                                               flag_incarnation[] = "--incarnation";
    char *argv[] = {path, flag_index, index_text, flag_incarnation, incarnation_text, NULL}, adj[16];
    struct start s = {.path = path, .argv = argv, .map = map, .place = place_of(f, role, index)};
    size_t n = 6;

    s.program = program_of(f, sv_program_of(role), path);
    snprintf(index_text, sizeof index_text, "%u", index);
    snprintf(incarnation_text, sizeof incarnation_text, "%u", incarnation);
    for (uint32_t r = 0; r < f->ranks; r++)
        if (role == IM_ROLE_AUGMENTER || (role == IM_ROLE_TRAINER && r == index))
            map[n++] = (struct mapping){f->batch[r], IM_FD_BATCH + (int)r};
    /* A trainer writes to the run directory: while one lives, even an orphan, nobody else may start there. */
    if (role == IM_ROLE_TRAINER) {
        s.kept = f->kept;
        map[n++] = (struct mapping){f->lock, IM_FD_LOCK};
        map[n++] = (struct mapping){f->snapshot, IM_FD_SNAPSHOT};
        if (f->programs.module >= 0)
            map[n++] = (struct mapping){f->programs.module, IM_FD_MODULE};
    }
    if ((role == IM_ROLE_READER || role == IM_ROLE_FETCHER) && f->index >= 0)
        map[n++] = (struct mapping){f->index, IM_FD_INDEX};
    if ((role == IM_ROLE_AUGMENTER || role == IM_ROLE_READER) && f->pixels >= 0)
        map[n++] = (struct mapping){f->pixels, IM_FD_PIXELS};
    s.n = n;
    s.oom_score_adj = oom_score_adj(f, role, adj, sizeof adj);
    return start_child(&s);
}

pid_t sv_spawn_saver(const struct sv_spawn_fds *f)
{
    const struct mapping map[] = {
        {f->null, 0},          {f->log_write, 1},
        {f->log_write, 2},     {f->control, IM_FD_CONTROL},
        {f->lock, IM_FD_LOCK}, {f->snapshot, IM_FD_SNAPSHOT},
    };
    char path[PATH_MAX], flag[] = "--save-snapshot";
    char *argv[] = {path, flag, NULL};
    const struct start s = {.program = program_of(f, SV_PROGRAM_TRAINER, path),
                            .path = path,
                            .argv = argv,
                            .map = map,
                            .kept = f->kept,
                            .n = IM_COUNT(map)};

    return start_child(&s);
}

pid_t sv_spawn_supervisor(const struct sv_spawn_fds *f, int channel)
{
    int high = copy_high(channel, f->ranks);
    struct mapping map[8] = {
        {high, IM_FD_CHANNEL},    {f->control, IM_FD_CONTROL}, {f->lease_write, IM_FD_LEASE},
        {f->log_read, IM_FD_LOG}, {f->lock, IM_FD_LOCK},
    };
    size_t n = 5;
    char path[PATH_MAX], verb[] = "supervise";
    char *argv[] = {path, verb, NULL};
    struct start s = {
        .program = program_of(f, SV_PROGRAM_SUPERVISOR, path), .path = path, .argv = argv, .map = map};
    pid_t pid;

    if (f->meeting >= 0)
        map[n++] = (struct mapping){f->meeting, IM_FD_MEETING};
    if (f->listener >= 0)
        map[n++] = (struct mapping){f->listener, IM_FD_LISTENER};
    if (f->pixels >= 0)
        map[n++] = (struct mapping){f->pixels, IM_FD_PIXELS};
    s.n = n;
    if (high < 0)
        return -errno;
    pid = start_child(&s);
    close(high);
    return pid;
}
