/* For tests of the errors where a library is not installed, on machines where it is. */
#ifndef TESTS_SUPPORT_HIDE_H
#define TESTS_SUPPORT_HIDE_H

#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <unistd.h>

/* Runs the program again by the dynamic linker's own command, without its list of installed libraries: then
 * it finds those beside others, in LD_LIBRARY_PATH, which is emptied, and in /lib and /usr/lib. First thing
 * in main(). */
static inline void hide_installed_libraries(int argc, char **argv)
{
    const uintptr_t linker = getauxval(AT_BASE); /* 0: it is what the kernel has started */
    char **arguments = calloc((size_t)argc + 3, sizeof *arguments);
    Dl_info info;

    if (linker == 0 || !arguments || !dladdr((const void *)linker, &info)) {
        free(arguments);
        return;
    }
    arguments[0] = (char *)(uintptr_t)info.dli_fname;
    arguments[1] = (char *)(uintptr_t) "--inhibit-cache";
    for (int i = 0; i < argc; i++)
        arguments[i + 2] = argv[i];
    unsetenv("LD_LIBRARY_PATH");
    execv(info.dli_fname, arguments);
    free(arguments);
}

#endif
