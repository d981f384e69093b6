/* The control socket while the run goes on: it is a convenience, never a reason to end. One that has vanished
 * (a cleaner of /tmp, a log-out that removes XDG_RUNTIME_DIR) is made again, perhaps elsewhere; without any
 * place for it the run trains on, and tries again now and then. */
#include <string.h>
#include <sys/stat.h>

#include "supervisor/super.h"

#define LOOK_NS (2 * IM_SECOND)
#define RETRY_NS (5 * IM_SECOND)

static void remember_file(struct sv_super *s)
{
    struct stat st = {0};

    lstat(s->socket.record.path, &st);
    s->socket.device = st.st_dev;
    s->socket.inode = st.st_ino;
}

static bool is_there(const struct sv_super *s)
{
    struct stat st;

    return lstat(s->socket.record.path, &st) == 0 && S_ISSOCK(st.st_mode) && st.st_dev == s->socket.device &&
           st.st_ino == s->socket.inode;
}

static void say_none(struct sv_super *s, const char *why)
{
    struct im_json *fields = im_json_object();

    im_json_set_str(fields, "why", why);
    sv_journal_event(&s->journal, "control.none", fields);
    sv_screen_warn(&s->screen, SV_WARN,
                   "no place for the control socket (%s); training goes on without `imsuper status` and "
                   "`imsuper stop`; `kill -TERM %lld` stops and saves",
                   why, (long long)s->socket.record.pid);
}

/* In the journal's thread: what the record says, whoever has written to it. */
static int keep_record(void *context, struct im_text *text)
{
    struct sv_super *s = context;
    struct im_ctl_record record, written;

    pthread_mutex_lock(&s->socket.lock);
    record = s->socket.shown;
    pthread_mutex_unlock(&s->socket.lock);
    if (im_ctl_read_record(s->conf.run_dir, &written) == 0 && written.pid == record.pid &&
        strcmp(written.path, record.path) == 0)
        return 0;
    return im_ctl_write_record(s->conf.run_dir, &record, text);
}

static void show_record(struct sv_super *s)
{
    pthread_mutex_lock(&s->socket.lock);
    s->socket.shown = s->socket.record;
    pthread_mutex_unlock(&s->socket.lock);
    im_writer_do(s->journal.writer, keep_record, s, "record of the control socket (.control)");
}

void sv_socket_open(struct sv_super *s)
{
    bool moved, again = s->socket.missing;
    struct im_ctl_record old = s->socket.record;
    struct im_text why = {""};

    s->socket.record = (struct im_ctl_record){.pid = s->run.control->warden_pid};
    s->socket.missing = im_ctl_serve_run(s->conf.run_dir, &s->ctl, s->socket.record.path, &why) < 0;
    s->socket.look_at = im_now() + (s->socket.missing ? RETRY_NS : LOOK_NS);
    s->socket.was_missing |= s->socket.missing;
    if (s->socket.missing) {
        s->ctl = NULL;
        s->socket.record.path[0] = 0;
        show_record(s);
        if (!again)
            say_none(s, why.s);
        return;
    }
    remember_file(s);
    show_record(s);
    moved = again || strcmp(old.path, s->socket.record.path) != 0;
    if (old.path[0] && !moved && s->socket.remade_told)
        return;
    s->socket.remade_told |= !moved;
    if (again || old.path[0])
        sv_screen_warn(&s->screen, SV_WARN, "the control socket is now %s", s->socket.record.path);
}

void sv_socket_check(struct sv_super *s)
{
    if (im_now() < s->socket.look_at)
        return;
    s->socket.look_at = im_now() + LOOK_NS;
    if (s->ctl && is_there(s)) {
        show_record(s);
        return;
    }
    im_ctl_close(&s->ctl, 0);
    sv_socket_open(s);
}
