/* A part of an evaluation that several machines share (imsuper eval --shard): a file with the records of its images, and what is needed to tell
 * which parts are one evaluation. Joined, the records are those of one machine, and whatever is counted from them is, too.
 *
 *   a line of JSON: schema, shard, shards, first, all_images, seconds; "same": what all parts must have alike; "answer": options for the report;
 *   classes, images, tops, name_bytes, bytes and hash of what follows
 *   names of the classes, names of the images, each ended by a NUL; then the records (ipc/outcome.h), as this kind of machine writes numbers */
#ifndef SUPERVISOR_REPORT_EVALUATION_PART_H
#define SUPERVISOR_REPORT_EVALUATION_PART_H

#include "supervisor/report/evaluation.h"

#define SV_PART_SCHEMA "imsuper.eval-part/1"
#define SV_PART_ENDING ".part"

/* head: schema, shard, shards, first, all_images, seconds, same (an object of strings) and answer; the rest is added. */
int sv_evaluation_write_part(const struct sv_evaluation *e, struct im_json *head, const char *path,
                             struct im_text *text);

/* Reads all parts in the folder. ret_head: that of the first part, with the most seconds of any; the caller's to free. Fini `ret` in any case.
 * -EBADMSG with a sentence: a file is damaged, a part is missing or there twice, or two are not of one evaluation. */
int sv_evaluation_join(const char *folder, struct sv_evaluation *ret, struct im_json **ret_head,
                       struct im_text *text);

#endif
