#include <string.h>

static volatile int flag;
static volatile sig_atomic_t fine;
/* strcpy(a, b) in a comment and "sleep(1)" in a string are no findings */
static const char text[] = "exit(1) // volatile";

int f(char *a, const char *b)
{
    strcpy(a, b); strcat(a, b);
    sprintf(a, "%s", b);
    if (atoi(b)) usleep (10);
    sleep(1);
    __asm__ volatile("" ::: "memory");
    ops->random(3);
    my_sleep(3);
    exit(2);
    abort();
    atomic_fetch_add(&x, 1);
    atomic_load_explicit(&x, memory_order_seq_cst);
    return rand();
    signal(SIGPIPE, SIG_IGN);
    signal(SIGINT, handler);
}
