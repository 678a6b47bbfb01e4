/* What the files of pam_pyhome.so share. The module holds no state of its own: everything lives in `struct call` or in pam_data. */
#ifndef PAM_PYHOME_H
#define PAM_PYHOME_H

#include <pwd.h>
#include <security/pam_modules.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Places and limits are fixed when the module is compiled; nothing at run time can move them. */
#ifndef PYHOME_PYTHON
#define PYHOME_PYTHON "/usr/bin/python3"
#endif
#ifndef PYHOME_WORKER
#define PYHOME_WORKER "/usr/lib/pyhome/pyhome-worker"
#endif
#ifndef PYHOME_CONF
#define PYHOME_CONF "/etc/pyhome.conf"
#endif
#define SSHD_DROP_IN "/etc/ssh/sshd_config.d/0-pyhome.conf" /* as in policy/own_keys.py */
#ifndef PYHOME_RUN
#define PYHOME_RUN "/run/pyhome"
#endif
#ifndef PYHOME_STATE
#define PYHOME_STATE "/var/lib/pyhome"
#endif
#ifndef PYHOME_FRAME_MS
#define PYHOME_FRAME_MS 30000 /* one frame */
#endif
#ifndef PYHOME_TOTAL_MS
#define PYHOME_TOTAL_MS 90000 /* one exchange, conversations not counted */
#endif
#ifndef PYHOME_GATE_MS
#define PYHOME_GATE_MS 10000 /* the wait for a home that is being opened or locked */
#endif
#ifndef PYHOME_SSHD_MS
#define PYHOME_SSHD_MS 10000 /* sshd's answer about its configuration */
#endif
#ifndef PYHOME_ALARM_S
#define PYHOME_ALARM_S 120 /* an orphaned worker dies after this */
#endif

enum phase { PHASE_AUTH = 1, PHASE_SETCRED, PHASE_ACCOUNT, PHASE_OPEN, PHASE_CLOSE, PHASE_PASSWORD };

/* HOME_OF_ANOTHER: a user with the same uid has theirs open. */
enum home_state { HOME_CLOSED, HOME_OPEN, HOME_UNSURE, HOME_OF_ANOTHER };

struct settings {
	char *text;          /* the configuration file, cut into lines in place */
	const char **tokens; /* its lines, then the module arguments */
	size_t count;
	const char *skip;
	bool authenticate, debug, refuse_jobs, ssh_unlock;
};

struct call {
	pam_handle_t *pamh;
	enum phase phase;
	int flags;
	const char *user; /* PAM_USER, as it was typed: the name of the user is that of `pw` */
	const char *service;
	struct settings set;
	struct passwd pw;
	char *pw_text;
	bool key_is_enough; /* where the home asks nothing: sshd's question after the key is `ssh-unlock`'s own */
};

/* config.c */
bool settings_read(pam_handle_t *pamh, int argc, const char **argv, struct settings *set);
void settings_free(struct settings *set);
bool service_listed(const char *list, const char *service);
bool number_read(const char *text, const char **end, unsigned int *number);
uid_t uid_min(void);

/* home.c */
struct identity {
	uid_t uid;
	gid_t gid;
	int dumpable;
};
bool identity_enter(uid_t uid, gid_t gid, struct identity *before);
void identity_leave(const struct identity *before);
bool home_exists(const struct passwd *pw);
bool protector_exists(const struct passwd *pw);
enum home_state home_state(const struct passwd *pw);

/* descriptor.c */
struct own_fd { /* a descriptor kept between the phases; a host may close what it does not know, and open something else there */
	int fd;
	dev_t dev;
	ino_t ino;
};
int fd_copy_high(int fd);
int fd_move_high(int fd);
bool own_fd_keep(struct own_fd *own, int fd);
bool own_fd_valid(const struct own_fd *own);

/* lease.c */
int run_dir_open(uid_t uid, bool create);
void lease_take(struct call *call);
void lease_release(struct call *call);
bool lease_any_held(uid_t uid);

/* data.c */
void *secret_new(size_t size);
void secret_free(void *memory, size_t size);
char *data_name(const char *what, const char *user);
int data_set(pam_handle_t *pamh, const char *name, const void *value, size_t size);
int data_get(pam_handle_t *pamh, const char *name, const void **value, size_t *size);
bool has_opened(const struct call *call);
void answer_remember(struct call *call, int code);
int answer_recall(struct call *call, int otherwise);

/* wire.c */
#define FRAME_MAX 65536u
#define BLOB_NULL 0xFFFFFFFFu
struct frame { /* `at` and `end` bound what is left to read, or what is written so far and what there is room for */
	unsigned char *start, *at, *end;
	bool bad;
};
uint32_t get_u32(struct frame *frame);
uint16_t get_u16(struct frame *frame);
bool get_blob(struct frame *frame, unsigned char **bytes, size_t *size);
char *get_string(struct frame *frame);
bool got_all(const struct frame *frame);
void put_u8(struct frame *frame, uint8_t value);
void put_u16(struct frame *frame, uint16_t value);
void put_u32(struct frame *frame, uint32_t value);
void put_blob(struct frame *frame, const void *bytes, size_t size);
void put_string(struct frame *frame, const char *text);
bool frame_send(int fd, struct frame *frame, int *budget_ms);
bool frame_receive(int fd, struct frame *frame, uint8_t *kind, int *budget_ms);
bool fd_wait(int fd, short events, int64_t deadline);
int64_t now_ms(void);

/* spawn.c */
int program_spawn(const char *path, char *const argv[], int fd);
int worker_spawn(void);

/* sshd.c */
bool passed_public_key(const struct call *call);
bool sshd_asks_for_us(const struct call *call);

/* waiting.c */
void worker_keep(struct call *call, int fd);
int worker_recall(struct call *call);

/* relay.c */
bool worker_run(struct call *call, int *code);

/* converse.c */
int converse(struct call *call, struct frame *in, struct frame *out);

/* keyring.c */
int session_key_add(const struct passwd *pw, const char *description, const void *payload, size_t size, uint32_t perm,
		    int32_t *serial);

#endif
