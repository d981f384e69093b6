/* What users ask of a run on several machines, on any of them: a question goes through the channel to the machines that it is
 * about, and the answers of all become one. Bounded in number, size and time; nothing waits for it. */
#ifndef SUPERVISOR_NODES_ASK_H
#define SUPERVISOR_NODES_ASK_H

#include "ipc/ctl.h"

struct sv_link_news;
struct sv_super;
struct sv_nodes_asks; /* the questions that are under way here, and what this node has answered last */

/* True: other machines are asked, and `from` gets the answer later. */
bool sv_nodes_take_command(struct sv_super *s, const struct im_ctl_peer *from, const char *cmd,
                           const struct im_json *message);

void sv_nodes_on_asked(struct sv_super *s, const struct sv_link_news *news);
void sv_nodes_on_answered(struct sv_super *s, const struct sv_link_news *news);
void sv_nodes_ask_turn(struct sv_super *s); /* asks again, and gives up */
void sv_nodes_ask_close(struct sv_super *s);

/* nodes_answer.c: one answer of those of several machines; NULL where one has not come, or the machine is not there.
 * The caller's; answers stay the caller's, too. */
struct im_json *sv_nodes_join_status(struct sv_super *s, struct im_json *const *answers);
struct im_json *sv_nodes_join_replies(struct im_json *const *answers, uint64_t asked, uint64_t gone);

/* nodes_answer.c: what this machine says of itself in a status of all. The caller's. */
struct im_json *sv_nodes_status_here(struct sv_super *s);

/* nodes_logs.c: the answer to {"cmd": "logs", "offset": N, "inode": N}: whole lines of this machine's log.txt from
 * there on. The caller's. */
struct im_json *sv_nodes_logs(const char *run_dir, const struct im_json *message);

#endif
