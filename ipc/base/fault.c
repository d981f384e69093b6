/* Rules of fault points, read once from the environment.
 *
 * The table is a mutable global, which the project's rules forbid: a fault point must be one word of code
 * anywhere, with no context to hand through, and it exists in test builds only. The table is written before
 * the first passing and then only its counters change, atomically. With no rule a passing costs one acquire
 * load and one compare.
 *
 * It has no list of points: a rule for a point that nobody passes never fires. Kill tests must
 * therefore check that the process died as told. */
#include "ipc/base/fault.h"

#include <errno.h>

#include "ipc/base/count.h"

#ifdef IMSUPER_FAULTS

#include "ipc/base/log.h"

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { RULES_MAX = 16, NAME_MAX_BYTES = 64, RULE_MAX_BYTES = 200 };

enum action { ACTION_KILL, ACTION_SEGV, ACTION_STOP, ACTION_EXIT, ACTION_SLEEP, ACTION_FAIL };

struct rule {
    char role[NAME_MAX_BYTES]; /* empty: any */
    int64_t id;                /* -1: any */
    char point[NAME_MAX_BYTES];
    enum action action;
    uint64_t argument;
    uint64_t passing;
    bool every;
    atomic_uint_fast64_t count;
};

static struct rule rules[RULES_MAX];
static atomic_int rule_count; /* W: read_environment, im_fault_arm */
static pthread_once_t environment_read = PTHREAD_ONCE_INIT;

static const struct {
    const char *name;
    enum action action;
    bool has_argument;
} actions[] = {
    {"kill", ACTION_KILL, false}, {"segv", ACTION_SEGV, false},  {"stop", ACTION_STOP, false},
    {"exit", ACTION_EXIT, true},  {"sleep", ACTION_SLEEP, true}, {"fail", ACTION_FAIL, true},
};

static const struct {
    const char *name;
    int number;
} errors[] = {
    {"EFBIG", EFBIG},   {"EDQUOT", EDQUOT}, {"EROFS", EROFS},   {"EIO", EIO},
    {"ENOSPC", ENOSPC}, {"EINTR", EINTR},   {"EAGAIN", EAGAIN}, {"ENOMEM", ENOMEM},
    {"EMFILE", EMFILE}, {"EACCES", EACCES}, {"EINVAL", EINVAL},
};

/* A whole string of decimal digits. */
static bool parse_number(const char *s, uint64_t *ret_number)
{
    char *end;

    if (*s < '0' || *s > '9')
        return false;
    errno = 0;
    *ret_number = strtoull(s, &end, 10);
    return *end == '\0' && errno == 0;
}

static bool parse_argument(enum action action, const char *s, uint64_t *ret_number)
{
    for (size_t i = 0; action == ACTION_FAIL && i < IM_COUNT(errors); i++) {
        if (strcmp(s, errors[i].name) == 0) {
            *ret_number = (uint64_t)errors[i].number;
            return true;
        }
    }
    return parse_number(s, ret_number) && (action != ACTION_FAIL || (*ret_number >= 1 && *ret_number < 4096));
}

static bool parse_action(char *s, struct rule *r)
{
    char *argument = strchr(s, ':');

    if (argument)
        *argument++ = '\0';
    for (size_t i = 0; i < IM_COUNT(actions); i++) {
        if (strcmp(s, actions[i].name) != 0)
            continue;
        r->action = actions[i].action;
        if (actions[i].has_argument != (argument != NULL))
            return false;
        return !argument || parse_argument(r->action, argument, &r->argument);
    }
    return false;
}

/* `K` or `K/every`. */
static bool parse_passing(char *s, struct rule *r)
{
    char *every = strchr(s, '/');

    if (every) {
        *every++ = '\0';
        if (strcmp(every, "every") != 0)
            return false;
        r->every = true;
    }
    return parse_number(s, &r->passing) && r->passing >= 1;
}

/* `role` or `role#id`. */
static bool parse_filter(char *s, struct rule *r)
{
    char *id = strchr(s, '#');
    uint64_t number;

    if (id) {
        *id++ = '\0';
        if (!parse_number(id, &number) || number > INT32_MAX)
            return false;
        r->id = (int64_t)number;
    }
    return *s && snprintf(r->role, sizeof r->role, "%s", s) < (int)sizeof r->role;
}

static bool parse_rule(char *s, struct rule *r)
{
    char *action = strchr(s, '=');
    char *passing;
    char *point = s;
    char *colon;

    r->id = -1;
    r->passing = 1;
    if (!action)
        return false;
    *action++ = '\0';
    passing = strchr(action, '@');
    if (passing)
        *passing++ = '\0';
    colon = strchr(s, ':');
    if (colon) {
        *colon = '\0';
        point = colon + 1;
        if (!parse_filter(s, r))
            return false;
    }
    return *point && snprintf(r->point, sizeof r->point, "%s", point) < (int)sizeof r->point &&
           (!passing || parse_passing(passing, r)) && parse_action(action, r);
}

static int parse_rules(const char *s, struct im_text *text)
{
    int n = 0;

    memset(rules, 0, sizeof rules);
    while (*s) {
        size_t length = strcspn(s, ",");
        char one[RULE_MAX_BYTES];

        if (length >= sizeof one || n == RULES_MAX)
            return im_fail(text, -EINVAL, "fault rules: more than %d rules or a rule over %d bytes",
                           RULES_MAX, RULE_MAX_BYTES - 1);
        memcpy(one, s, length);
        one[length] = '\0';
        if (!parse_rule(one, &rules[n]))
            return im_fail(text, -EINVAL,
                           "fault rule \"%.*s\": expected [role[#id]:]point=action[@K[/every]]", (int)length,
                           s);
        n++;
        s += length;
        s += *s == ',';
    }
    return n;
}

static void read_environment(void)
{
    const char *s = getenv("IMSUPER_FAULT");
    struct im_text text;
    int n = parse_rules(s ? s : "", &text);

    if (n < 0) {
        dprintf(STDERR_FILENO, "imsuper: IMSUPER_FAULT: %s\n", text.s);
        abort();
    }
    atomic_store_explicit(&rule_count, n, memory_order_release);
}

static bool is_for_us(const struct rule *r)
{
    return (!r->role[0] || strcmp(r->role, im_log_role()) == 0) && (r->id < 0 || r->id == im_log_id());
}

static int fire(const struct rule *r)
{
    switch (r->action) {
    case ACTION_KILL:
        kill(getpid(), SIGKILL);
        break;
    case ACTION_SEGV:
        signal(SIGSEGV, SIG_DFL); /* a sanitizer's handler would turn it into an exit */
        kill(getpid(), SIGSEGV);
        break;
    case ACTION_STOP:
        kill(getpid(), SIGSTOP);
        break;
    case ACTION_EXIT:
        _exit((int)r->argument);
    case ACTION_SLEEP: {
        struct timespec left = {(time_t)(r->argument / 1000), (long)(r->argument % 1000) * 1000000};

        while (nanosleep(&left, &left) < 0 && errno == EINTR)
            continue;
        break;
    }
    case ACTION_FAIL:
        return -(int)r->argument;
    }
    return 0;
}

int im_fault_pass(const char *point)
{
    int n, err = 0;

    pthread_once(&environment_read, read_environment);
    n = atomic_load_explicit(&rule_count, memory_order_acquire);
    for (int i = 0; i < n; i++) {
        struct rule *r = &rules[i];
        uint64_t count;

        if (strcmp(r->point, point) != 0 || !is_for_us(r))
            continue;
        count = atomic_fetch_add_explicit(&r->count, 1, memory_order_relaxed) + 1;
        if (r->every ? count % r->passing == 0 : count == r->passing) {
            int injected = fire(r);

            err = err ? err : injected;
        }
    }
    return err;
}

int im_fault_pass_item(const char *point, uint64_t item)
{
    char name[NAME_MAX_BYTES];

    im_assert(snprintf(name, sizeof name, "%s.%" PRIu64, point, item) < (int)sizeof name);
    return im_fault_pass(name);
}

int im_fault_arm(const char *new_rules, struct im_text *text)
{
    int n;

    pthread_once(&environment_read, read_environment);
    atomic_store_explicit(&rule_count, 0, memory_order_release);
    n = parse_rules(new_rules, text);
    if (n < 0)
        return n;
    atomic_store_explicit(&rule_count, n, memory_order_release);
    return 0;
}

#else

int im_fault_pass(const char *point)
{
    (void)point;
    return 0;
}

int im_fault_pass_item(const char *point, uint64_t item)
{
    (void)point;
    (void)item;
    return 0;
}

int im_fault_arm(const char *new_rules, struct im_text *text)
{
    (void)new_rules;
    return im_fail(text, -ENOTSUP, "this build has no fault points; configure with -DIMSUPER_FAULTS=ON");
}

#endif
