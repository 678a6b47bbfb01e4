/* The ADD_SESSION_KEY verb: a key in the session keyring of this login and of nobody else. */
#include "pam_pyhome.h"

#include <errno.h>
#include <linux/keyctl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifdef SYS_setresuid32
#define CALL_SETRESUID SYS_setresuid32
#define CALL_SETRESGID SYS_setresgid32
#else
#define CALL_SETRESUID SYS_setresuid
#define CALL_SETRESGID SYS_setresgid
#endif

#define OWNER_LINK 0x00100000u
#define OWNER_SETATTR 0x00200000u

static long keyctl(int operation, long a, long b, long c)
{
	return syscall(SYS_keyctl, (long)operation, a, b, c, 0L);
}

/*
 * Is the present session keyring one that was made for a session of this user? The default one, `_uid_ses.<uid>`, is shared by
 * all processes of the user that have none of their own, so it is not.
 */
static bool session_is_of(uid_t uid)
{
	char text[512];
	unsigned int owner;
	int name = 0;
	if (keyctl(KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0, 0) < 0)
		return false;
	long size = keyctl(KEYCTL_DESCRIBE, KEY_SPEC_SESSION_KEYRING, (long)text, sizeof text);
	if (size <= 0 || size > (long)sizeof text)
		return false;
	if (sscanf(text, "keyring;%u;%*d;%*x;%n", &owner, &name) != 1 || name == 0)
		return false;
	return owner == uid && strncmp(text + name, "_uid_ses.", 9) != 0;
}

/*
 * A new session keyring owned by the user, with the user's own keyring linked into it. Owners of new keyrings are real ids, so
 * this thread, by the raw calls, lends itself those of the user; the effective ones stay root's.
 */
static bool session_join(const struct passwd *pw)
{
	uid_t uid, euid, suid;
	gid_t gid, egid, sgid;
	if (getresuid(&uid, &euid, &suid) < 0 || getresgid(&gid, &egid, &sgid) < 0)
		return false;
	bool joined = syscall(CALL_SETRESGID, (long)pw->pw_gid, -1L, -1L) == 0 && syscall(CALL_SETRESUID, (long)pw->pw_uid, 0L, 0L) == 0 &&
		      keyctl(KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0) >= 0;
	if (joined)
		keyctl(KEYCTL_LINK, KEY_SPEC_USER_KEYRING, KEY_SPEC_SESSION_KEYRING, 0);
	int saved = errno;
	bool restored = syscall(CALL_SETRESUID, (long)uid, (long)euid, (long)suid) == 0;
	restored = syscall(CALL_SETRESGID, (long)gid, (long)egid, (long)sgid) == 0 && restored;
	errno = saved;
	return joined && restored;
}

/*
 * The key is made in this thread's own keyring and linked from there: a key of the same name that somebody has put into the
 * session is displaced, never filled. Until the final permissions are set only root, its owner, can link it or change it.
 */
static int32_t key_place(const char *description, const void *payload, size_t size, uint32_t perm)
{
	long serial = syscall(SYS_add_key, "user", description, payload, size, (long)KEY_SPEC_THREAD_KEYRING);
	if (serial < 0)
		return -1;
	bool placed = keyctl(KEYCTL_SETPERM, serial, (long)(perm | OWNER_LINK | OWNER_SETATTR), 0) == 0 &&
		      keyctl(KEYCTL_LINK, serial, KEY_SPEC_SESSION_KEYRING, 0) == 0;
	if (placed && keyctl(KEYCTL_SETPERM, serial, (long)perm, 0) < 0) {
		placed = false;
		keyctl(KEYCTL_UNLINK, serial, KEY_SPEC_SESSION_KEYRING, 0);
	}
	int saved = errno;
	keyctl(KEYCTL_UNLINK, serial, KEY_SPEC_THREAD_KEYRING, 0);
	errno = saved;
	return placed ? (int32_t)serial : -1;
}

/* PAM_SUCCESS with the serial, or PAM_SESSION_ERR with errno. */
int session_key_add(const struct passwd *pw, const char *description, const void *payload, size_t size, uint32_t perm,
		    int32_t *serial)
{
	struct identity before;
	*serial = -1;
	if (!session_is_of(pw->pw_uid) && !session_join(pw))
		return PAM_SESSION_ERR;
	if (identity_enter(0, 0, &before)) {
		*serial = key_place(description, payload, size, perm);
		identity_leave(&before);
	}
	return *serial > 0 ? PAM_SUCCESS : PAM_SESSION_ERR;
}
