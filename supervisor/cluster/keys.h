/* CURVE keys (Curve25519) of the channel between supervisors, as 40 characters of Z85 (ZeroMQ RFC 32).
 *
 * A key file holds two secrets, the head's and the members', so that its owner can prove both ways that he
 * belongs to the run. It must be readable by its owner alone. */
#ifndef SUPERVISOR_CLUSTER_KEYS_H
#define SUPERVISOR_CLUSTER_KEYS_H

#include <stdbool.h>
#include <stdint.h>

#include "ipc/base/err.h"

#define SV_KEY_CHARS 41 /* with the 0 */

struct sv_keys {
    char open[SV_KEY_CHARS], secret[SV_KEY_CHARS]; /* of this machine */
    char head[SV_KEY_CHARS];                       /* the head's public key */
    uint32_t members; /* public keys that the head lets in: one for all machines, or one for each */
    char (*member)[SV_KEY_CHARS]; /* [members], malloc'ed; NULL: none, on a member */
};

/* -ENOSYS with a sentence: this libzmq was built without CURVE. */
int sv_keys_available(struct im_text *text);

/* A new pair. */
int sv_keys_pair(char ret_open[SV_KEY_CHARS], char ret_secret[SV_KEY_CHARS], struct im_text *text);

/* Is it 40 characters of Z85? */
bool sv_key_is_good(const char *key);

/* Writes a new key file, mode 0600. -EEXIST with a sentence: there is one already. */
int sv_key_file_make(const char *path, struct im_text *text);

/* Reads one. -EINVAL with a sentence: it is none; -EACCES: others may read it, or it belongs to another user. */
int sv_key_file_read(const char *path, bool is_head, struct sv_keys *ret, struct im_text *text);

/* Its content: the secrets of the head, or of a member. -EINVAL; -ENOMEM. */
int sv_key_parse(const char *bytes, bool is_head, struct sv_keys *ret);

/* A good key as 32 bytes, and back. */
void sv_key_bytes(const char *key, uint8_t ret[32]);
void sv_key_of_bytes(const uint8_t bytes[32], char ret[SV_KEY_CHARS]);

void sv_keys_fini(struct sv_keys *keys); /* forgets the secrets too */

/* "3f9a-11c0-77de-8b01": the first bytes of a hash of a public key, for users to compare. */
struct sv_fingerprint {
    char s[20];
};
struct sv_fingerprint sv_key_fingerprint(const char *open);

#endif
