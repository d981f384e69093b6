#include "supervisor/cli/messages.h"

#include <unistd.h>

#include "supervisor/cli/program.h"
#include "supervisor/report/terminal.h"

#define WAIT_NS (3 * IM_SECOND)
#define STOPPED_WAIT_NS (500 * IM_MS) /* a signal asks all to end */

static ssize_t messages_put(void *cookie, const char *bytes, size_t n)
{
    sv_terminal_put(cookie, SV_TEXT_LINE, bytes, n);
    return (ssize_t)n;
}

void sv_messages_begin(struct sv_messages *m)
{
    FILE *queue = NULL;

    *m = (struct sv_messages){.terminal = sv_terminal_open(STDERR_FILENO)};
    if (m->terminal)
        queue = fopencookie(m->terminal, "w", (cookie_io_functions_t){.write = messages_put});
    if (!queue) {
        sv_terminal_close(&m->terminal, 0);
        return;
    }
    setvbuf(queue, NULL, _IOLBF, BUFSIZ);
    m->usual = stderr;
    stderr = queue;
}

void sv_messages_end(struct sv_messages *m)
{
    if (!m->usual)
        return;
    fclose(stderr);
    stderr = m->usual;
    m->usual = NULL;
    sv_terminal_close(&m->terminal, sv_stop_signal() ? STOPPED_WAIT_NS : WAIT_NS);
}
