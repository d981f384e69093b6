#include "supervisor/warden/say.h"

#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/base/printable.h"

/* A terminal or pipe opened anew has a non-blocking mode of its own: that of the descriptor is shared with
 * whoever started us. -1: cannot be opened, so a short write after a poll has to do. */
static int open_anew(void)
{
    struct stat st;

    if (fstat(STDERR_FILENO, &st) < 0 || !(S_ISCHR(st.st_mode) || S_ISFIFO(st.st_mode)))
        return -1;
    return open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

void sv_warden_say(const char *format, ...)
{
    struct pollfd p = {.fd = STDERR_FILENO, .events = POLLOUT};
    char said[512], shown[512], line[600];
    va_list args;
    int fd;

    va_start(args, format);
    vsnprintf(said, sizeof said, format, args);
    va_end(args);
    snprintf(line, sizeof line, "%simsuper: %s\n", isatty(STDERR_FILENO) ? "\n" : "", /* ends the live line */
             im_printable(said, shown, sizeof shown));
    if (poll(&p, 1, 0) != 1 || !(p.revents & POLLOUT))
        return;
    fd = open_anew();
    if (write(fd < 0 ? STDERR_FILENO : fd, line, strlen(line)) < 0) {
        /* left out */
    }
    if (fd >= 0)
        close(fd);
}
