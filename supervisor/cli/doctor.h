/* The checks of `imsuper doctor`. Those of the machine read it below a root ("" for the machine itself) and from limits
 * that are handed in, so that a test can show each of them a machine where it fails. */
#ifndef SUPERVISOR_CLI_DOCTOR_H
#define SUPERVISOR_CLI_DOCTOR_H

#include <sys/resource.h>

#include "ipc/config/conf.h"

enum sv_grade {
    SV_CHECK_OK,
    SV_CHECK_SKIP, /* does not apply here */
    SV_CHECK_WARN, /* slower, or in danger */
    SV_CHECK_FAIL  /* a run does not start, or not come to its end */
};

struct sv_check {
    const char *name;
    enum sv_grade grade;
    struct im_text found;
    const char *fix; /* the command, or what to do; NULL: nothing */
};

enum { SV_CHECKS_MAX = 32 };

struct sv_checks {
    struct sv_check check[SV_CHECKS_MAX];
    int count;
};

/* Adds one; `fix` lives as long as the checks, and is dropped where the grade is OK or SKIP. */
void sv_check_add(struct sv_checks *checks, const char *name, enum sv_grade grade, const char *fix,
                  const char *format, ...) __attribute__((format(printf, 5, 6)));

struct sv_host {
    const char *root;
    int affinity; /* CPUs that the affinity mask has */
    struct rlimit limits[RLIM_NLIMITS];
    double clock_ns; /* of one clock_gettime() */
};

/* This machine. */
void sv_host_look(struct sv_host *ret);

/* CPU, cores, memory, kernel, clock, limits, shared memory: only what is read below the root and stands in `host`. */
void sv_doctor_host(const struct sv_host *host, struct sv_checks *checks);

/* From what `imsuper-reader io` answered (`status`: as of sv_program_read()). */
void sv_doctor_io(const struct sv_host *host, int status, const char *answer, struct sv_checks *checks);

/* imsuper's programs and the libraries that they need. */
void sv_doctor_programs(struct sv_checks *checks);
/* What the loader said of one program: "libx.so.1 => not found" makes it fail. */
void sv_doctor_libraries(const char *program, const char *said, struct sv_checks *checks);

void sv_doctor_gpus(struct sv_checks *checks);
/* Shared memory as a run reserves it, and the workspace. */
void sv_doctor_room(const struct im_conf *conf, struct sv_checks *checks);
/* The data set: index, rate of reading, a sample decoded. */
void sv_doctor_data(const struct im_conf *conf, struct sv_checks *checks);

#endif
