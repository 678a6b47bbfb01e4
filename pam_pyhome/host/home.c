/*
 * Is there an encrypted home, and is it open? Asked without Python, and with the file-system rights of its owner: root has none where
 * homes come from a server. Where the owner may not look, root does: a supplementary group may lead there, or it is another's.
 */
#include "pam_pyhome.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fscrypt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define RECORD_MAX 16384

/* A host that has forbidden cores and ptrace is not to allow them again by lending itself an identity, which resets that. */
static void stay_private(const struct identity *before)
{
	if (before->dumpable == 0)
		prctl(PR_SET_DUMPABLE, 0L, 0L, 0L, 0L);
}

/*
 * File-system identity of this thread only: setfsuid and setfsgid are the identity calls that the C library does not spread
 * over all threads of the process. False: nothing has changed.
 */
bool identity_enter(uid_t uid, gid_t gid, struct identity *before)
{
	before->dumpable = prctl(PR_GET_DUMPABLE, 0L, 0L, 0L, 0L);
	before->gid = (gid_t)setfsgid(gid);
	before->uid = (uid_t)setfsuid(uid);
	stay_private(before);
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
	stay_private(before);
	errno = saved;
}

static bool lstat_as(const struct passwd *pw, const char *path, struct stat *st)
{
	struct identity before;
	if (!identity_enter(pw->pw_uid, pw->pw_gid, &before))
		return false;
	bool found = lstat(path, st) == 0;
	identity_leave(&before);
	return found || (errno == EACCES && lstat(path, st) == 0);
}

static int open_as(const struct passwd *pw, const char *path)
{
	const int flags = O_RDONLY | O_DIRECTORY | O_NONBLOCK | O_CLOEXEC;
	struct identity before;
	if (!identity_enter(pw->pw_uid, pw->pw_gid, &before))
		return -1;
	int fd = open(path, flags);
	identity_leave(&before);
	return fd < 0 && errno == EACCES ? open(path, flags) : fd;
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

/* Opens a directory, and asks what the file system encrypts it with. -1: with nothing, or it is not to be had. */
static int policy_open(const struct passwd *pw, const char *path, struct fscrypt_get_policy_ex_arg *policy)
{
	int fd = open_as(pw, path);
	memset(policy, 0, sizeof *policy);
	policy->policy_size = sizeof policy->policy;
	if (fd < 0 || ioctl(fd, FS_IOC_GET_ENCRYPTION_POLICY_EX, policy) == 0)
		return fd;
	close(fd);
	return -1;
}

/* Whether the home directory itself is encrypted, by whatever tool. */
static bool has_policy(const struct passwd *pw)
{
	struct fscrypt_get_policy_ex_arg policy;
	int fd = pw->pw_dir[0] == '/' ? policy_open(pw, pw->pw_dir, &policy) : -1;
	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

/* Such a home is open while the key of its policy is there. Otherwise other keys that are on record may be: the worker finds out. */
static enum home_state policy_state(const struct passwd *pw, const char *path)
{
	struct fscrypt_get_policy_ex_arg policy;
	struct fscrypt_get_key_status_arg key = {.key_spec = {.type = FSCRYPT_KEY_SPEC_TYPE_IDENTIFIER}};
	int fd = policy_open(pw, path, &policy);
	if (fd < 0)
		return HOME_UNSURE;
	memcpy(key.key_spec.u.identifier, policy.policy.v2.master_key_identifier, FSCRYPT_KEY_IDENTIFIER_SIZE);
	bool known = policy.policy.version == FSCRYPT_POLICY_V2 && ioctl(fd, FS_IOC_GET_ENCRYPTION_KEY_STATUS, &key) == 0;
	close(fd);
	return known && key.status == FSCRYPT_KEY_STATUS_PRESENT ? HOME_OPEN : HOME_UNSURE;
}

bool home_exists(const struct passwd *pw)
{
	if (copies_exist(pw) || has_policy(pw))
		return true;
	if (pw->pw_dir[0] == '/' && wrapped_below(pw, "", pw->pw_dir))
		return true;
	return pw->pw_name[0] != '.' && strchr(pw->pw_name, '/') == NULL && wrapped_below(pw, "/home/.ecryptfs/", pw->pw_name);
}

/* Whether fscrypt has a protector of the user's, which may be for the login password, beside a home that is not encrypted. */
bool protector_exists(const struct passwd *pw)
{
	DIR *list = opendir("/.fscrypt/protectors");
	bool found = false;
	const struct dirent *entry;
	struct stat st;
	while (list != NULL && !found && (entry = readdir(list)) != NULL)
		found = fstatat(dirfd(list), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) && st.st_uid == pw->pw_uid;
	if (list != NULL)
		closedir(list);
	return found;
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
	const char *end;
	char rebuilt[32];
	if (!number_read(text, &end, &major_number) || *end != ':' || !number_read(end + 1, &end, &minor_number))
		return false;
	snprintf(rebuilt, sizeof rebuilt, "%u:%u", major_number, minor_number);
	*device = makedev(major_number, minor_number);
	return strcmp(rebuilt, text) == 0;
}

struct record {
	char *user, *mountpoint;
	dev_t device;
	ino_t inode;	       /* of the directory that is the home while it is open */
	bool has_inode;	       /* records of 0.1.0 have none */
	bool fscrypt, opening; /* fscrypt: the home has no mount of its own */
};

static bool parse_inode(const char *text, ino_t *inode)
{
	char *end;
	errno = 0;
	unsigned long long number = strtoull(text, &end, 10);
	*inode = (ino_t)number;
	return *text >= '0' && *text <= '9' && *end == '\0' && errno == 0 && *inode == number;
}

/* Takes one value out of a line, if it is there for the first time. */
static bool take_text(char *value, char **kept)
{
	if (*kept != NULL || !unescape(value))
		return false;
	*kept = value;
	return true;
}

/* Takes out of the record what says where the home is, and whose. The other lines are not the shim's business. */
static bool parse_record(char *text, struct record *record)
{
	bool has_device = false, sound = true;
	*record = (struct record){0};
	for (char *rest = text; sound && rest != NULL && *rest != '\0';) {
		char *line = strsep(&rest, "\n");
		if (rest == NULL)
			return false; /* the last line has no end: not a whole record */
		if (strncmp(line, "mountpoint=", 11) == 0) {
			sound = line[11] == '/' && take_text(line + 11, &record->mountpoint);
		} else if (strncmp(line, "user=", 5) == 0) {
			sound = take_text(line + 5, &record->user);
		} else if (strncmp(line, "dev=", 4) == 0) {
			sound = !has_device && parse_device(line + 4, &record->device);
			has_device = true;
		} else if (strncmp(line, "inode=", 6) == 0) {
			sound = !record->has_inode && parse_inode(line + 6, &record->inode);
			record->has_inode = true;
		} else if (strcmp(line, "backend=fscrypt") == 0) {
			record->fscrypt = true;
		} else if (strcmp(line, "state=opening") == 0) {
			record->opening = true;
		}
	}
	return sound && record->mountpoint != NULL && record->user != NULL && has_device;
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

/* Whether what is recorded is seen at its place: the directory of that device and inode. */
static bool is_seen(const struct passwd *pw, const struct record *record)
{
	struct stat st;
	if (record->opening || !lstat_as(pw, record->mountpoint, &st) || st.st_dev != record->device)
		return false;
	return !record->has_inode || st.st_ino == record->inode;
}

/*
 * Open by our record, and what it records is really there. What is on record and not seen there may be open elsewhere: the worker
 * finds out, and so it does in a mount namespace that is not that of process 1.
 */
enum home_state home_state(const struct passwd *pw)
{
	char text[RECORD_MAX];
	struct record record;
	bool here = mount_namespace_is_first();
	if (!read_record(pw->pw_uid, text) || !parse_record(text, &record))
		return here ? HOME_CLOSED : HOME_UNSURE;
	if (strcmp(record.user, pw->pw_name) != 0)
		return HOME_OF_ANOTHER;
	if (!here || !is_seen(pw, &record))
		return HOME_UNSURE;
	return record.fscrypt ? policy_state(pw, record.mountpoint) : HOME_OPEN;
}
