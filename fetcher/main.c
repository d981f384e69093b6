/* imsuper-fetcher: `imsuper start` starts one where images lie on another machine; `list` makes a mirror of them. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

#include "fetcher/fetcher.h"
#include "fetcher/listing.h"
#include "fetcher/sandbox.h"
#include "ipc/base/file.h"
#include "ipc/base/log.h"
#include "ipc/base/printable.h"
#include "ipc/base/sysinfo.h"

static int fetch_for_run(int argc, char **argv)
{
    static struct im_child_storage storage;
    struct im_child child;
    struct im_text text = {0};
    int err = im_child_open(argc, argv, IM_ROLE_FETCHER, &storage, &child, &text);

    if (err == 0) {
        err = fe_run(&child, &text);
        im_child_close(&child);
    }
    if (err < 0 && text.s[0])
        im_log(IM_LOG_ERROR, "leaving", "why=%s", im_log_quote(&(struct im_quoted){0}, text.s));
    return im_exit_status(err);
}

/* For rd_mirror_open(). */
static int list(const char *data_dir, const char *cache_dir)
{
    struct im_sandbox_state sandbox;
    struct im_text text = {0};
    int err;

    prctl(PR_SET_PDEATHSIG, SIGTERM); /* nobody waits for the list any more */
    err = im_mkdirs(cache_dir, 0700, &text);
    if (err == 0) /* the run's fetcher reports what a kernel lacks */
        err = fe_sandbox_enter(cache_dir, false, &sandbox, &text);
    if (err == 0)
        err = fe_list(data_dir, cache_dir, FE_LIST_WHOLLY, &text);
    if (err < 0)
        im_say(stderr, "imsuper: %s", text.s[0] ? text.s : strerror(-err));
    return im_exit_status(err);
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    if (im_child_is_started(argc, argv))
        return fetch_for_run(argc, argv);
    if (argc == 4 && strcmp(argv[1], "list") == 0)
        return list(argv[2], argv[3]);
    if (argc == 2 && (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0)) {
        printf("imsuper-fetcher %s (%s)\n", IMSUPER_VERSION, im_build_id());
        return IM_EXIT_OK;
    }
    im_say(stderr, "imsuper-fetcher: this program is started by imsuper; see `imsuper help`");
    return IM_EXIT_USAGE;
}
