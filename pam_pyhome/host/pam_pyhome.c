/* The six entry points, and what is decided without starting Python. The tests are those of §4 of docs/design.md. */
#include "pam_pyhome.h"
#include "events.h"

#include <errno.h>
#include <security/pam_ext.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define JOB_SERVICES "cron,crond,atd"
#define REFRESHES ((unsigned int)(PAM_REINITIALIZE_CRED | PAM_REFRESH_CRED))
#define PASSWD_MAX (1u << 20)

static int nothing(const struct call *call)
{
	if (call->phase == PHASE_OPEN || call->phase == PHASE_CLOSE)
		return PAM_SUCCESS;
	if (call->phase != PHASE_AUTH)
		return PAM_IGNORE;
	if (call->set.ssh_unlock)
		return call->key_is_enough ? PAM_SUCCESS : PAM_IGNORE;
	return call->set.authenticate ? PAM_USER_UNKNOWN : PAM_IGNORE;
}

/* When no worker answered: an error only where something was to be verified. */
static int failure(const struct call *call)
{
	if (call->phase == PHASE_AUTH && call->set.ssh_unlock)
		return PAM_IGNORE;
	if (call->phase == PHASE_PASSWORD || (call->phase == PHASE_AUTH && call->set.authenticate))
		return PAM_SYSTEM_ERR;
	return nothing(call);
}

static void debug(const struct call *call, const char *decision)
{
	static const char *const names[] = {"", "auth", "setcred", "account", "open", "close", "password"};
	if (call->set.debug)
		record(call->pamh, NULL, DECIDED, "%s: %s", names[call->phase], decision);
}

static int ask_worker(struct call *call)
{
	int code;
	debug(call, "asking a worker");
	return worker_run(call, &code) ? code : failure(call);
}

static bool find_user(struct call *call)
{
	struct passwd *found = NULL;
	int error = ERANGE;
	for (size_t size = 1024; error == ERANGE && size <= PASSWD_MAX; size *= 4) {
		free(call->pw_text);
		call->pw_text = malloc(size);
		error = call->pw_text != NULL ? getpwnam_r(call->user, &call->pw, call->pw_text, size, &found) : ENOMEM;
	}
	return error == 0 && found != NULL;
}

static bool refuses_jobs(const struct call *call)
{
	return call->phase == PHASE_ACCOUNT && call->set.refuse_jobs && service_listed(JOB_SERVICES, call->service);
}

/* Once in a login and before a password is changed; whoever has such a home is not served, and is not to wonder. */
static void say_left_alone(const struct call *call)
{
	unsigned int flags = (unsigned int)call->flags;
	bool first = call->phase == PHASE_OPEN || (call->phase == PHASE_PASSWORD && (flags & PAM_PRELIM_CHECK) != 0);
	if (first && (flags & PAM_SILENT) == 0)
		pam_error(call->pamh,
			  "The encrypted home of %s is left alone, because uid %u is below UID_MIN in /etc/login.defs; "
			  "ask the administrator to lower that.",
			  call->pw.pw_name, (unsigned int)call->pw.pw_uid);
}

/*
 * NULL: this call concerns an encrypted home. Otherwise why it does not. All reasons have the same answer, so the cheap
 * questions come first and those that read files come last.
 */
static const char *uninteresting(struct call *call)
{
	if (!refuses_jobs(call) && (call->phase == PHASE_ACCOUNT || service_listed(call->set.skip, call->service)))
		return "not a service that uses homes";
	if (!find_user(call))
		return "no such user";
	if (call->pw.pw_uid == 0)
		return "root";
	if (!home_exists(&call->pw) && (call->phase != PHASE_PASSWORD || !protector_exists(&call->pw)))
		return "no encrypted home";
	if (call->pw.pw_uid >= uid_min())
		return NULL;
	say_left_alone(call);
	return "a system user";
}

static int open_session(struct call *call)
{
	/* Without a lease: it would keep the other's home open. */
	if (home_state(&call->pw) == HOME_OF_ANOTHER) {
		record(call->pamh, &call->pw, SAME_UID, "uid %u; the home is left alone", (unsigned int)call->pw.pw_uid);
		return PAM_SUCCESS;
	}
	lease_take(call);
	/* Keys that another session's login has made superfluous: the worker discards them. */
	if (home_state(&call->pw) != HOME_OPEN || has_opened(call))
		return ask_worker(call);
	debug(call, "the home is already open");
	return PAM_SUCCESS;
}

/*
 * A screen is unlocked: no session opens, but one goes on, and its home was locked under it. The keys that auth has left open
 * it again. Where a session is about to be opened, it is that which does.
 */
static void open_again(struct call *call)
{
	if (uninteresting(call) != NULL || !has_opened(call))
		return;
	if (lease_any_held(call->pw.pw_uid) && home_state(&call->pw) == HOME_CLOSED) {
		call->phase = PHASE_OPEN;
		(void)ask_worker(call);
		call->phase = PHASE_SETCRED;
	}
}

static int close_session(struct call *call)
{
	/* What this one has done to its user's SSH keys counts at once, however long others last. */
	if (lease_any_held(call->pw.pw_uid) && access(SSHD_DROP_IN, F_OK) != 0) {
		debug(call, "other sessions go on");
		return PAM_SUCCESS;
	}
	enum home_state state = home_state(&call->pw);
	return state == HOME_OPEN || state == HOME_UNSURE ? ask_worker(call) : PAM_SUCCESS;
}

/* NULL: after a key, sshd asks because of us. Otherwise why not: whoever must answer others must not be spared by us. */
static const char *not_asked_for(const struct call *call)
{
	if (!passed_public_key(call))
		return "no public key was passed on this connection";
	return sshd_asks_for_us(call) ? NULL : "sshd asks after the key for reasons of its own";
}

static int decide(struct call *call)
{
	const char *reason = call->phase == PHASE_AUTH && call->set.ssh_unlock ? not_asked_for(call) : NULL;
	if (reason != NULL) {
		debug(call, reason);
		return PAM_IGNORE;
	}
	call->key_is_enough = call->phase == PHASE_AUTH && call->set.ssh_unlock;
	reason = uninteresting(call);
	if (reason != NULL) {
		debug(call, reason);
		return nothing(call);
	}
	switch (call->phase) {
	case PHASE_OPEN:
		return open_session(call);
	case PHASE_CLOSE:
		return close_session(call);
	case PHASE_PASSWORD:
		return ask_worker(call);
	default:
		break;
	}
	bool wants_state = call->phase == PHASE_ACCOUNT || call->set.ssh_unlock || !call->set.authenticate;
	if (!wants_state || home_state(&call->pw) != HOME_OPEN)
		return ask_worker(call);
	debug(call, "the home is already open");
	return nothing(call);
}

/* PAM_USER and PAM_SERVICE. Only auth may ask for the name. */
static int call_items(struct call *call)
{
	const void *item = NULL;
	int code = PAM_SUCCESS;
	if (call->phase == PHASE_AUTH)
		code = pam_get_user(call->pamh, &call->user, NULL);
	else if (pam_get_item(call->pamh, PAM_USER, &item) == PAM_SUCCESS)
		call->user = item;
	item = NULL;
	call->service = pam_get_item(call->pamh, PAM_SERVICE, &item) == PAM_SUCCESS && item != NULL ? item : "";
	return code;
}

static int answer(struct call *call)
{
	int code = call_items(call);
	if (code == PAM_CONV_AGAIN)
		return PAM_INCOMPLETE;
	if (code != PAM_SUCCESS || call->user == NULL || call->user[0] == '\0')
		return nothing(call);
	if (call->phase == PHASE_SETCRED && ((unsigned int)call->flags & REFRESHES) != 0 && geteuid() == 0)
		open_again(call);
	if (call->phase == PHASE_SETCRED)
		return answer_recall(call, call->set.authenticate ? PAM_SUCCESS : PAM_IGNORE);
	if (call->phase == PHASE_CLOSE)
		lease_release(call);
	if (geteuid() == 0)
		code = decide(call);
	else
		code = call->phase == PHASE_AUTH && call->set.authenticate ? PAM_AUTHINFO_UNAVAIL : nothing(call);
	if (call->phase == PHASE_AUTH)
		answer_remember(call, code);
	return code;
}

static int enter(pam_handle_t *pamh, enum phase phase, int flags, int argc, const char **argv)
{
	struct call call = {.pamh = pamh, .phase = phase, .flags = flags};
	int code = settings_read(pamh, argc, argv, &call.set) ? answer(&call) : failure(&call);
	free(call.pw_text);
	settings_free(&call.set);
	return code;
}

EXPORT int pam_sm_authenticate(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
	return enter(pamh, PHASE_AUTH, flags, argc, argv);
}

EXPORT int pam_sm_setcred(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
	return enter(pamh, PHASE_SETCRED, flags, argc, argv);
}

EXPORT int pam_sm_acct_mgmt(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
	return enter(pamh, PHASE_ACCOUNT, flags, argc, argv);
}

EXPORT int pam_sm_open_session(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
	return enter(pamh, PHASE_OPEN, flags, argc, argv);
}

EXPORT int pam_sm_close_session(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
	return enter(pamh, PHASE_CLOSE, flags, argc, argv);
}

EXPORT int pam_sm_chauthtok(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
	return enter(pamh, PHASE_PASSWORD, flags, argc, argv);
}
