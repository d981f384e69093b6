/* Exit statuses of the roles and of the user's command (sysexits.h values where one fits). */
#ifndef IPC_BASE_EXIT_H
#define IPC_BASE_EXIT_H

enum im_exit {
    IM_EXIT_OK = 0,
    IM_EXIT_FAILED = 1,
    IM_EXIT_USAGE = 2,
    IM_EXIT_NOT_RUNNING = 3,
    IM_EXIT_UNKNOWN_RUN = 4,
    IM_EXIT_BAD_DATA = 65,
    IM_EXIT_UNAVAILABLE = 69,   /* a device or library is missing */
    IM_EXIT_RESUMABLE = 75,     /* stopped, saved; the same command continues */
    IM_EXIT_FENCED = 76,        /* another process was started in our place */
    IM_EXIT_ORPHANED = 77,      /* warden and supervisor are gone */
    IM_EXIT_PEER = 78,          /* another trainer is lost, or does not answer */
    IM_EXIT_NOTHING_NEWER = 79, /* of the saver: the checkpoint is as new as the snapshot */
    IM_EXIT_NOTHING_SAVED = 80, /* of the saver: there is neither a snapshot nor a checkpoint */
    IM_EXIT_CONTRADICTION =
        81,                /* words in shared memory contradict each other: the data plane is set up anew */
    IM_EXIT_DIVERGED = 82, /* of a trainer: the loss is not finite, and would be again */
    IM_EXIT_FORCED = 130,
};

/* The status that a program ends with for its error; a positive one is a status already. */
int im_exit_status(int err);

/* A status in shared memory with its own check, and back: a word that changed is IM_EXIT_FAILED. */
unsigned im_exit_word(int status);
int im_exit_of_word(unsigned word);

#endif
