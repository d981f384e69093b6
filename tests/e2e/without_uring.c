/* without_uring PROGRAM ARGUMENT...: runs a program where io_uring_setup() fails with EPERM, as Docker's and
 * Kubernetes' default seccomp profiles make it. The filter holds for all that the program starts. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <seccomp.h>

int main(int argc, char **argv)
{
    scmp_filter_ctx filter = argc > 1 ? seccomp_init(SCMP_ACT_ALLOW) : NULL;

    if (!filter || seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(io_uring_setup), 0) < 0 ||
        seccomp_load(filter) < 0) {
        fprintf(stderr, "without_uring: cannot install the filter\n");
        return 77;
    }
    seccomp_release(filter);
    execvp(argv[1], argv + 1);
    fprintf(stderr, "without_uring: %s: %s\n", argv[1], strerror(errno));
    return 127;
}
