/* One exchange with one worker: START, verbs and answers, REPLY. */
#include "pam_pyhome.h"
#include "events.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define BREACH (-1) /* the worker broke the protocol */
#define BUFFER (FRAME_MAX + 4)

enum kind {
	START = 1,
	ANSWER = 2,
	GET_ITEM = 16,
	SET_ITEM,
	PUT_ENV,
	GET_ENV,
	CONVERSE,
	FAIL_DELAY,
	SET_DATA,
	GET_DATA,
	ADD_SESSION_KEY,
	REPLY = 31
};

static bool is_string_item(uint32_t item)
{
	switch (item) {
	case PAM_SERVICE:
	case PAM_USER:
	case PAM_TTY:
	case PAM_RHOST:
	case PAM_AUTHTOK:
	case PAM_OLDAUTHTOK:
	case PAM_RUSER:
	case PAM_USER_PROMPT:
	case PAM_XDISPLAY:
	case PAM_AUTHTOK_TYPE:
		return true;
	default:
		return false;
	}
}

static int do_get_item(struct call *call, struct frame *in, struct frame *out)
{
	const void *value = NULL;
	uint32_t item = get_u32(in);
	if (!got_all(in))
		return BREACH;
	int code = is_string_item(item) ? pam_get_item(call->pamh, (int)item, &value) : PAM_BAD_ITEM;
	put_string(out, value);
	return code;
}

static int do_set_item(struct call *call, struct frame *in)
{
	uint32_t item = get_u32(in);
	const char *value = get_string(in);
	if (!got_all(in))
		return BREACH;
	/* `user` and `service` of the call are libpam's own strings, and a new value would free them. */
	bool settable = is_string_item(item) && item != PAM_USER && item != PAM_SERVICE;
	return settable ? pam_set_item(call->pamh, (int)item, value) : PAM_BAD_ITEM;
}

static int do_put_env(struct call *call, struct frame *in)
{
	const char *setting = get_string(in);
	return got_all(in) && setting != NULL ? pam_putenv(call->pamh, setting) : BREACH;
}

static int do_get_env(struct call *call, struct frame *in, struct frame *out)
{
	const char *name = get_string(in);
	if (!got_all(in) || name == NULL)
		return BREACH;
	put_string(out, pam_getenv(call->pamh, name));
	return PAM_SUCCESS;
}

static int do_fail_delay(struct call *call, struct frame *in)
{
	uint32_t microseconds = get_u32(in);
	return got_all(in) ? pam_fail_delay(call->pamh, microseconds) : BREACH;
}

/* The worker's own: not other modules' data, and not what the shim keeps in another form. */
static bool is_worker_data(const char *name)
{
	return strncmp(name, "pyhome.", 7) == 0 && strncmp(name, "pyhome.auth.", 12) != 0 && strncmp(name, "pyhome.lease.", 13) != 0 &&
	       strncmp(name, "pyhome.worker.", 14) != 0;
}

static int do_set_data(struct call *call, struct frame *in)
{
	unsigned char *value;
	size_t size;
	const char *name = get_string(in);
	get_blob(in, &value, &size);
	if (!got_all(in) || name == NULL)
		return BREACH;
	return is_worker_data(name) ? data_set(call->pamh, name, value, size) : PAM_PERM_DENIED;
}

static int do_get_data(struct call *call, struct frame *in, struct frame *out)
{
	const void *value = NULL;
	size_t size = 0;
	const char *name = get_string(in);
	if (!got_all(in) || name == NULL)
		return BREACH;
	int code = is_worker_data(name) ? data_get(call->pamh, name, &value, &size) : PAM_PERM_DENIED;
	put_blob(out, value, size);
	return code;
}

static int do_add_session_key(struct call *call, struct frame *in, struct frame *out)
{
	unsigned char *payload;
	size_t size;
	int32_t serial = 0;
	const char *description = get_string(in);
	get_blob(in, &payload, &size);
	uint32_t perm = get_u32(in);
	if (!got_all(in) || description == NULL || payload == NULL)
		return BREACH;
	int code = session_key_add(&call->pw, description, payload, size, perm, &serial);
	if (code != PAM_SUCCESS)
		record(call->pamh, &call->pw, KEYS_NOT_GIVEN, "cannot add a key to the session keyring: %m");
	put_u32(out, (uint32_t)serial);
	return code;
}

/* The status of the answer to one verb, or BREACH. */
static int do_verb(struct call *call, uint8_t kind, struct frame *in, struct frame *out)
{
	switch (kind) {
	case GET_ITEM:
		return do_get_item(call, in, out);
	case SET_ITEM:
		return do_set_item(call, in);
	case PUT_ENV:
		return do_put_env(call, in);
	case GET_ENV:
		return do_get_env(call, in, out);
	case CONVERSE:
		return converse(call, in, out);
	case FAIL_DELAY:
		return do_fail_delay(call, in);
	case SET_DATA:
		return do_set_data(call, in);
	case GET_DATA:
		return do_get_data(call, in, out);
	case ADD_SESSION_KEY:
		return do_add_session_key(call, in, out);
	default:
		return BREACH;
	}
}

static void frame_begin(struct frame *frame, enum kind kind)
{
	frame->at = frame->start + 4;
	frame->end = frame->start + BUFFER;
	frame->bad = false;
	put_u8(frame, (uint8_t)kind);
}

/* Carries out one verb and answers it; the results are sent only with PAM_SUCCESS and only if they fit. */
static bool answer(struct call *call, int fd, uint8_t kind, struct frame *in, struct frame *out, int *budget_ms)
{
	frame_begin(out, ANSWER);
	struct frame status = {out->at, out->at, out->at + 4, false};
	put_u32(out, 0);
	int code = do_verb(call, kind, in, out);
	if (code == BREACH)
		return false;
	if (out->bad)
		code = PAM_BUF_ERR;
	put_u32(&status, (uint32_t)code);
	if (code != PAM_SUCCESS) {
		out->at = status.at;
		out->bad = false;
	}
	return frame_send(fd, out, budget_ms);
}

static void put_start(struct frame *out, const struct call *call)
{
	frame_begin(out, START);
	put_u8(out, 1);
	put_u8(out, (uint8_t)call->phase);
	put_u32(out, (uint32_t)call->flags);
	put_u32(out, call->pw.pw_uid);
	put_u32(out, call->pw.pw_gid);
	put_u32(out, (uint32_t)getpid());
	put_string(out, call->pw.pw_name);
	put_string(out, call->service);
	put_string(out, call->pw.pw_dir);
	put_u16(out, (uint16_t)call->set.count);
	for (size_t i = 0; i < call->set.count; i++)
		put_string(out, call->set.tokens[i]);
}

/* True with the worker's explicit reply, and only then. */
static bool exchange(struct call *call, int fd, struct frame *in, struct frame *out, int *code)
{
	int budget_ms = PYHOME_TOTAL_MS;
	uint8_t kind;
	put_start(out, call);
	if (!frame_send(fd, out, &budget_ms))
		return false;
	while (frame_receive(fd, in, &kind, &budget_ms)) {
		if (kind == REPLY) {
			*code = (int)get_u32(in);
			return got_all(in) && *code >= 0 && *code < _PAM_RETURN_VALUES;
		}
		if (!answer(call, fd, kind, in, out, &budget_ms))
			return false;
	}
	return false;
}

/* With a worker that waits since auth, if there is one: it has done its part if it replies, and otherwise nothing is lost. */
static bool ask_waiting(struct call *call, struct frame *in, struct frame *out, int *code)
{
	int fd = worker_recall(call);
	if (fd < 0)
		return false;
	bool replied = exchange(call, fd, in, out, code);
	close(fd);
	return replied;
}

/* False: it died, was late, or spoke nonsense; closing the socket tells it that nobody listens. */
static bool ask_new(struct call *call, struct frame *in, struct frame *out, int *code)
{
	int fd = worker_spawn();
	bool replied = fd >= 0 && exchange(call, fd, in, out, code);
	if (fd < 0)
		record(call->pamh, &call->pw, NO_WORKER, "cannot start the worker: %m");
	else if (!replied)
		record(call->pamh, &call->pw, NO_WORKER, "the worker gave no valid reply");
	if (replied && call->phase == PHASE_AUTH && has_opened(call))
		worker_keep(call, fd);
	else if (fd >= 0)
		close(fd);
	return replied;
}

/* Runs this call in a worker. False: it has no answer. */
bool worker_run(struct call *call, int *code)
{
	struct frame in = {.start = secret_new(BUFFER)}, out = {.start = secret_new(BUFFER)};
	bool replied = false;
	if (in.start != NULL && out.start != NULL)
		replied = (call->phase == PHASE_OPEN && ask_waiting(call, &in, &out, code)) || ask_new(call, &in, &out, code);
	secret_free(in.start, BUFFER);
	secret_free(out.start, BUFFER);
	return replied;
}
