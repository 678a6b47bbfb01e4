/* Is there an encrypted home, and is it open? Asked without Python, with the file-system rights of its owner. */
#include "pam_pyhome.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define RECORD_MAX 16384

/*
 * File-system identity of this thread only: setfsuid and setfsgid are the identity calls that the C library does not spread
 * over all threads of the process. False: nothing has changed.
 */
bool identity_enter(uid_t uid, gid_t gid, struct identity *before)
{
	before->gid = (gid_t)setfsgid(gid);
	before->uid = (uid_t)setfsuid(uid);
	if ((uid_t)setfsuid((uid_t)-1) == uid && (gid_t)setfsgid((gid_t)-1) == gid)
		return true;
	identity_leave(before);
	return false;
}

void identity_leave(const struct identity *before)
{
	int saved = errno;
	setfsuid(before->uid);
	setfsgid(before->gid);
	errno = saved;
}

static bool lstat_as(const struct passwd *pw, const char *path, struct stat *st)
{
	struct identity before;
	if (!identity_enter(pw->pw_uid, pw->pw_gid, &before))
		return false;
	bool found = lstat(path, st) == 0;
	identity_leave(&before);
	return found;
}

static bool wrapped_below(const struct passwd *pw, const char *prefix, const char *middle)
{
	char path[4096];
	struct stat st;
	int size = snprintf(path, sizeof path, "%s%s/.ecryptfs/wrapped-passphrase", prefix, middle);
	return size > 0 && (size_t)size < sizeof path && lstat_as(pw, path, &st);
}

/* The worker keeps copies of the key files, from which it mends a home whose own have been deleted. */
static bool copies_exist(const struct passwd *pw)
{
	char path[4096];
	struct stat st;
	int size = snprintf(path, sizeof path, PYHOME_STATE "/%u.%s", (unsigned int)pw->pw_uid, pw->pw_name);
	return size > 0 && (size_t)size < sizeof path && strchr(pw->pw_name, '/') == NULL && lstat(path, &st) == 0;
}

bool home_exists(const struct passwd *pw)
{
	if (copies_exist(pw))
		return true;
	if (pw->pw_dir[0] == '/' && wrapped_below(pw, "", pw->pw_dir))
		return true;
	return pw->pw_name[0] != '.' && strchr(pw->pw_name, '/') == NULL && wrapped_below(pw, "/home/.ecryptfs/", pw->pw_name);
}

static bool mount_namespace_is_first(void)
{
	struct stat own, first;
	return stat("/proc/thread-self/ns/mnt", &own) == 0 && stat("/proc/1/ns/mnt", &first) == 0 && own.st_ino == first.st_ino &&
	       own.st_dev == first.st_dev;
}

/* Replaces the three-digit octal escapes of `text` in place. False: a backslash without them, or an escaped NUL. */
static bool unescape(char *text)
{
	char *to = text;
	for (const char *from = text; *from != '\0'; to++) {
		if (*from != '\\') {
			*to = *from++;
			continue;
		}
		unsigned int value = 0;
		for (int i = 1; i <= 3; i++) {
			if (from[i] < '0' || from[i] > '7')
				return false;
			value = value * 8 + (unsigned int)(from[i] - '0');
		}
		if (value == 0 || value > 255)
			return false;
		*to = (char)value;
		from += 4;
	}
	*to = '\0';
	return true;
}

/* Reads MAJOR:MINOR, digits only. */
static bool parse_device(const char *text, dev_t *device)
{
	unsigned int major_number, minor_number;
	char rebuilt[32];
	if (sscanf(text, "%u:%u", &major_number, &minor_number) != 2)
		return false;
	snprintf(rebuilt, sizeof rebuilt, "%u:%u", major_number, minor_number);
	*device = makedev(major_number, minor_number);
	return strcmp(rebuilt, text) == 0;
}

/* Takes `mountpoint` and `dev` out of the record; each must be there once. The other lines are not the shim's business. */
static bool parse_record(char *text, char **mountpoint, dev_t *device)
{
	bool has_device = false;
	*mountpoint = NULL;
	*device = 0;
	for (char *rest = text; rest != NULL && *rest != '\0';) {
		char *line = strsep(&rest, "\n");
		if (rest == NULL)
			return false; /* the last line has no end: not a whole record */
		if (strncmp(line, "mountpoint=", 11) == 0) {
			if (*mountpoint != NULL || line[11] != '/' || !unescape(line + 11))
				return false;
			*mountpoint = line + 11;
		} else if (strncmp(line, "dev=", 4) == 0) {
			if (has_device || !parse_device(line + 4, device))
				return false;
			has_device = true;
		}
	}
	return *mountpoint != NULL && has_device;
}

static bool read_record(uid_t uid, char text[RECORD_MAX])
{
	int dir = run_dir_open(uid, false);
	if (dir < 0)
		return false;
	int fd = openat(dir, "open", O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	close(dir);
	if (fd < 0)
		return false;
	struct stat st;
	ssize_t size = -1;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == 0)
		size = read(fd, text, RECORD_MAX);
	close(fd);
	if (size <= 0 || size >= RECORD_MAX)
		return false;
	text[size] = '\0';
	return strlen(text) == (size_t)size;
}

/* Open by our record, and the recorded file system is really there. Unsure in a mount namespace that is not that of process 1. */
enum home_state home_state(const struct passwd *pw)
{
	char text[RECORD_MAX], *mountpoint;
	dev_t device;
	struct stat st;
	if (!mount_namespace_is_first())
		return HOME_UNSURE;
	if (!read_record(pw->pw_uid, text) || !parse_record(text, &mountpoint, &device))
		return HOME_CLOSED;
	return lstat_as(pw, mountpoint, &st) && st.st_dev == device ? HOME_OPEN : HOME_CLOSED;
}
