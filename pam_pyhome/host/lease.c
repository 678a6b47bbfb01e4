/* Leases: one flocked file per session in /run/pyhome/<uid>. A lease whose lock can be taken is dead. */
#include "pam_pyhome.h"
#include "events.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define VALUE_MAX 255
#define TEXT_MAX 4096 /* three values, four bytes for each of theirs, and the rest */
#define POLL_MS 20
#define NUMBER_MAX 100000u

struct lease {
	struct own_fd own;
	uid_t uid;
	char name[48];
};

/* Opens a directory that only root can enter, below `parent`. */
static int private_dir(int parent, const char *name, bool create)
{
	struct stat st;
	if (create && mkdirat(parent, name, 0700) < 0 && errno != EEXIST)
		return -1;
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -1;
	if (fstat(fd, &st) == 0 && st.st_uid == 0 && (st.st_mode & 077) == 0) {
		if ((st.st_mode & 0777) != 0700) /* made under a strange umask */
			fchmod(fd, 0700);
		return fd;
	}
	close(fd);
	errno = EPERM;
	return -1;
}

/* The run-time directory of a user, or -1 with errno. */
int run_dir_open(uid_t uid, bool create)
{
	char name[16];
	int run = private_dir(AT_FDCWD, PYHOME_RUN, create);
	if (run < 0)
		return -1;
	snprintf(name, sizeof name, "%u", (unsigned int)uid);
	int dir = private_dir(run, name, create);
	int saved = errno;
	close(run);
	errno = saved;
	return dir;
}

static int private_file(int dir, const char *name, int flags)
{
	struct stat st;
	int fd = openat(dir, name, flags | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0600);
	if (fd >= 0 && (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_uid != 0)) {
		close(fd);
		errno = EPERM;
		return -1;
	}
	if (fd >= 0 && (flags & O_CREAT) != 0 && (st.st_mode & 0777) != 0600)
		fchmod(fd, 0600);
	return fd;
}

/* Opens the gate and locks it as `how` says, trying for `wait_ms`. -1: it is not to be had. */
static int gate_lock(int dir, int how, int wait_ms)
{
	int64_t deadline = now_ms() + wait_ms;
	int fd = private_file(dir, "gate", O_RDWR | O_CREAT);
	while (fd >= 0 && flock(fd, how | LOCK_NB) < 0) {
		if ((errno != EWOULDBLOCK && errno != EINTR) || now_ms() >= deadline) {
			close(fd);
			errno = ETIMEDOUT;
			return -1;
		}
		struct timespec nap = {.tv_nsec = POLL_MS * 1000000L};
		nanosleep(&nap, NULL);
	}
	return fd;
}

/* Field 22 of /proc/self/stat, counted behind the name, which may contain anything. */
static void start_time(char out[32])
{
	char text[1024] = "";
	strcpy(out, "0");
	int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
	ssize_t size = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
	if (fd >= 0)
		close(fd);
	char *at = size > 0 ? strrchr(text, ')') : NULL;
	for (int field = 2; at != NULL && field < 22; field++)
		at = strchr(at + 1, ' ');
	if (at != NULL)
		sscanf(at, " %31[0-9]", out);
}

/* Appends `name=value\n`. What is not plain ASCII becomes a backslash and three octal digits, as in all files of ours. */
static void append_item(pam_handle_t *pamh, int item, const char *name, char *text)
{
	const void *found = NULL;
	const char *value = pam_get_item(pamh, item, &found) == PAM_SUCCESS && found != NULL ? found : "";
	char *at = text + strlen(text);
	at += sprintf(at, "%s=", name);
	for (int i = 0; i < VALUE_MAX && value[i] != '\0'; i++) {
		unsigned char byte = (unsigned char)value[i];
		at += sprintf(at, byte < ' ' || byte > '~' || byte == '\\' ? "\\%03o" : "%c", byte);
	}
	strcpy(at, "\n");
}

static void write_text(pam_handle_t *pamh, int fd)
{
	struct rlimit limit;
	char start[32], text[TEXT_MAX];
	/* Writing against a caller's file-size limit would kill the process with SIGXFSZ. The lease holds without its text. */
	if (getrlimit(RLIMIT_FSIZE, &limit) < 0 || (limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < TEXT_MAX))
		return;
	start_time(start);
	snprintf(text, sizeof text, "pid=%ld\nstart=%s\n", (long)getpid(), start);
	append_item(pamh, PAM_SERVICE, "service", text);
	append_item(pamh, PAM_TTY, "tty", text);
	append_item(pamh, PAM_RHOST, "rhost", text);
	if (write(fd, text, strlen(text)) < 0)
		record(pamh, NULL, NO_LEASE, "cannot write into the lease: %m, holding it all the same");
}

/* Also runs in forked copies of the process, so it only closes: the lock is gone when the last copy has closed. */
static void lease_cleanup(pam_handle_t *pamh, void *data, int status)
{
	(void)pamh;
	(void)status;
	struct lease *lease = data;
	if (lease != NULL && own_fd_valid(&lease->own))
		close(lease->own.fd);
	free(lease);
}

/* Creates and locks the file; the gate is held by the caller. */
static bool lease_create(int dir, struct lease *lease)
{
	int fd = -1, locked;
	for (unsigned int n = 0; fd < 0 && n < NUMBER_MAX; n++) {
		snprintf(lease->name, sizeof lease->name, "lease.%ld.%u", (long)getpid(), n);
		fd = private_file(dir, lease->name, O_RDWR | O_CREAT | O_EXCL);
		if (fd < 0 && errno != EEXIST)
			return false;
	}
	fd = fd_move_high(fd);
	if (fd < 0)
		return false;
	while ((locked = flock(fd, LOCK_EX)) < 0 && errno == EINTR)
		; /* somebody who tries whether it is held has it for an instant */
	if (locked == 0 && own_fd_keep(&lease->own, fd))
		return true;
	close(fd);
	return false;
}

static bool lease_make(struct call *call, struct lease *lease)
{
	int dir = run_dir_open(lease->uid, true);
	int gate = dir >= 0 ? gate_lock(dir, LOCK_SH, PYHOME_GATE_MS) : -1;
	bool made = gate >= 0 && lease_create(dir, lease);
	int saved = errno;
	if (made)
		write_text(call->pamh, lease->own.fd);
	if (gate >= 0)
		close(gate);
	if (dir >= 0)
		close(dir);
	errno = saved;
	return made;
}

/* Makes a lease for this session. Without one the session goes on: the home may then be locked under it. */
void lease_take(struct call *call)
{
	const void *held = NULL;
	struct identity before;
	char *key = data_name("lease", call->user);
	struct lease *lease = calloc(1, sizeof *lease);
	if (key == NULL || lease == NULL)
		goto failed;
	if (pam_get_data(call->pamh, key, &held) == PAM_SUCCESS && held != NULL && own_fd_valid(&((const struct lease *)held)->own))
		goto failed; /* opened twice in one handle: one lease is enough */
	lease->uid = call->pw.pw_uid;
	bool made = false;
	if (identity_enter(0, 0, &before)) {
		made = lease_make(call, lease);
		identity_leave(&before);
	}
	if (!made) {
		record(call->pamh, &call->pw, NO_LEASE, "no lease: %m, proceeding without");
	} else if (pam_set_data(call->pamh, key, lease, lease_cleanup) == PAM_SUCCESS) {
		lease = NULL;
	} else {
		close(lease->own.fd);
	}
failed:
	free(lease);
	free(key);
}

/* Removes the file while the lock is still held (nobody else may then have touched it) and gives up the lock for all copies. */
static void lease_drop(const struct lease *lease)
{
	struct stat st;
	int dir = run_dir_open(lease->uid, false);
	if (dir >= 0 && fstatat(dir, lease->name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_dev == lease->own.dev && st.st_ino == lease->own.ino)
		unlinkat(dir, lease->name, 0);
	if (dir >= 0)
		close(dir);
	if (own_fd_valid(&lease->own))
		flock(lease->own.fd, LOCK_UN);
}

void lease_release(struct call *call)
{
	const void *held = NULL;
	char *key = data_name("lease", call->user);
	if (key != NULL && pam_get_data(call->pamh, key, &held) == PAM_SUCCESS && held != NULL) {
		lease_drop(held);
		pam_set_data(call->pamh, key, NULL, NULL); /* the cleanup closes */
	}
	free(key);
}

/* Shared, so that two who try at the same time do not take each other for holders. */
static bool lease_held(int dir, const char *name, bool prune)
{
	int fd = private_file(dir, name, O_RDONLY);
	if (fd < 0)
		return false;
	bool held = flock(fd, LOCK_SH | LOCK_NB) < 0;
	if (!held && prune)
		unlinkat(dir, name, 0);
	close(fd);
	return held;
}

/*
 * Does any session of this user hold a lease? Dead ones are removed, but only if the gate is free: a lease that is being made
 * looks dead until it is locked. Then the answer may be no, and the worker, which waits for the gate, finds out.
 */
bool lease_any_held(uid_t uid)
{
	int dir = run_dir_open(uid, false);
	DIR *list = dir >= 0 ? fdopendir(dir) : NULL;
	if (list == NULL) {
		if (dir >= 0)
			close(dir);
		return false;
	}
	int gate = gate_lock(dir, LOCK_EX, 0);
	bool held = false;
	const struct dirent *entry;
	while ((entry = readdir(list)) != NULL)
		if (strncmp(entry->d_name, "lease.", 6) == 0 && lease_held(dir, entry->d_name, gate >= 0))
			held = true;
	if (gate >= 0)
		close(gate);
	closedir(list);
	return held;
}
