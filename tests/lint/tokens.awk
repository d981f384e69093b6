# Words that have no place in the code, each with what to use instead. Input: strip.awk's lines, so comments and strings
# do not count (marks of unfinished work, which live in comments, are text.awk's business).

BEGIN {
    call["strcpy"] = "memcpy with a checked length, or snprintf"
    call["strncpy"] = "memcpy with a checked length, or snprintf"
    call["strcat"] = "snprintf"
    call["strncat"] = "snprintf"
    call["sprintf"] = "snprintf"
    call["vsprintf"] = "vsnprintf"
    call["gets"] = "fgets or getline"
    call["atoi"] = "strtol with its errors checked"
    call["atol"] = "strtol with its errors checked"
    call["atof"] = "strtod with its errors checked"
    call["strtok"] = "strtok_r"
    call["usleep"] = "wait for the thing itself: a descriptor, a futex, with a bound"
    call["sleep"] = "wait for the thing itself: a descriptor, a futex, with a bound"
    call["alloca"] = "a bounded array or the heap"
    call["system"] = "posix_spawn or execve"
    call["popen"] = "posix_spawn or execve"
    call["tmpnam"] = "mkstemp"
    call["mktemp"] = "mkstemp"
    call["signal"] = "sigaction or signalfd"
    call["rand"] = "im_rng"
    call["srand"] = "im_rng"
    call["random"] = "im_rng"
    call["drand48"] = "im_rng"
    call["atomic_load"] = "atomic_load_explicit: the order is said"
    call["atomic_store"] = "atomic_store_explicit: the order is said"
    call["atomic_exchange"] = "atomic_exchange_explicit: the order is said"
    call["atomic_fetch_add"] = "atomic_fetch_add_explicit: the order is said"
    call["atomic_fetch_sub"] = "atomic_fetch_sub_explicit: the order is said"
    call["atomic_fetch_or"] = "atomic_fetch_or_explicit: the order is said"
    call["atomic_fetch_and"] = "atomic_fetch_and_explicit: the order is said"
    call["atomic_compare_exchange_strong"] = "the _explicit form: the order is said"
    call["atomic_compare_exchange_weak"] = "the _explicit form: the order is said"

    # What a library must not do, though a program and its tests may.
    library["exit"] = "return an error: only main.c and *_main.c leave the process"
    library["quick_exit"] = library["exit"]
    library["abort"] = "im_assert for errors of ours, an error code for all else"
    library["assert"] = "im_assert, which is on in every build"

    # Kernels are pure functions over the caller's memory.
    kernel["malloc"] = kernel["calloc"] = kernel["realloc"] = kernel["free"] = kernel["aligned_alloc"] = \
        kernel["posix_memalign"] = "the caller's memory: kernels allocate nothing"
}

function say(what) {
    print $1 ":" $2 ": " what
}

{
    product = $1 !~ /^tests\//
    main_file = $1 ~ /(^|\/|_)main\.c$/
    rest = $3
    while (match(rest, /[A-Za-z_][A-Za-z0-9_]* *\(/)) {
        name = substr(rest, RSTART, RLENGTH)
        sub(/ *\($/, "", name)
        # A member named like a function (`ops->random(...)`) is not the function.
        before = RSTART > 1 ? substr(rest, 1, RSTART - 1) : ""
        member = before ~ /(\.|->) *$/
        rest = substr(rest, RSTART + RLENGTH)
        if (member)
            continue
        if (name == "signal" && rest ~ /^[^;]*SIG_(DFL|IGN)/)
            continue
        if (name in call)
            say(name "(): use " call[name])
        if (product && !main_file && name in library && !(name == "abort" && $1 ~ /^ipc\/base\/(err|fault)\.c$/))
            say(name "(): " library[name])
        if ($1 ~ /^kernels\// && name in kernel)
            say(name "(): " kernel[name])
    }
}

$3 ~ /(^|[^A-Za-z0-9_])volatile([^A-Za-z0-9_]|$)/ {
    line = $3
    gsub(/volatile +sig_atomic_t/, "", line)
    gsub(/__asm__ +(volatile|__volatile__)/, "", line)
    if (line ~ /(^|[^A-Za-z0-9_])volatile([^A-Za-z0-9_]|$)/)
        say("volatile: _Atomic with an explicit order (only a signal handler's sig_atomic_t may be volatile)")
}

$1 !~ /^tests\// && $1 !~ /^ipc\/wait\.[ch]$/ && $3 ~ /seq_cst/ {
    say("seq_cst outside ipc/wait: the one fence pair of the sleep/wake handshake lives there")
}
