/* A source of users for the name service that knows its users and lists none of them, as directory services do. */

#include <errno.h>
#include <nss.h>
#include <pwd.h>
#include <string.h>
#include <sys/types.h>

#define NAME "kay"
#define UID 61077

static enum nss_status fill(struct passwd *entry, char *buffer, size_t size, int *error)
{
	static const char text[] = NAME "\0x\0\0/home/corp.example/" NAME "\0/bin/sh";
	if (size < sizeof text) {
		*error = ERANGE;
		return NSS_STATUS_TRYAGAIN;
	}
	memcpy(buffer, text, sizeof text);
	entry->pw_name = buffer;
	entry->pw_passwd = entry->pw_name + strlen(entry->pw_name) + 1;
	entry->pw_gecos = entry->pw_passwd + strlen(entry->pw_passwd) + 1;
	entry->pw_dir = entry->pw_gecos + strlen(entry->pw_gecos) + 1;
	entry->pw_shell = entry->pw_dir + strlen(entry->pw_dir) + 1;
	entry->pw_uid = UID;
	entry->pw_gid = UID;
	return NSS_STATUS_SUCCESS;
}

enum nss_status _nss_unlisted_getpwnam_r(const char *name, struct passwd *entry, char *buffer, size_t size, int *error)
{
	return strcmp(name, NAME) == 0 ? fill(entry, buffer, size, error) : NSS_STATUS_NOTFOUND;
}

enum nss_status _nss_unlisted_getpwuid_r(uid_t uid, struct passwd *entry, char *buffer, size_t size, int *error)
{
	return uid == UID ? fill(entry, buffer, size, error) : NSS_STATUS_NOTFOUND;
}
