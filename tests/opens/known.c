/* A user database that knows users by name and uid and does not list them, as sssd: those of /etc/passwd.known, however it is typed. */
#include <errno.h>
#include <nss.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static enum nss_status look(const char *name, uid_t uid, struct passwd *found, char *text, size_t size, int *error)
{
	struct passwd *entry = NULL;
	FILE *file = fopen("/etc/passwd.known", "re");
	if (file == NULL)
		return NSS_STATUS_UNAVAIL;
	while (fgetpwent_r(file, found, text, size, &entry) == 0)
		if (name != NULL ? strcasecmp(entry->pw_name, name) == 0 : entry->pw_uid == uid)
			break;
	fclose(file);
	*error = ENOENT;
	return entry != NULL ? NSS_STATUS_SUCCESS : NSS_STATUS_NOTFOUND;
}

enum nss_status _nss_known_getpwnam_r(const char *name, struct passwd *found, char *text, size_t size, int *error)
{
	return look(strncmp(name, "CORP\\", 5) == 0 ? name + 5 : name, 0, found, text, size, error);
}

enum nss_status _nss_known_getpwuid_r(uid_t uid, struct passwd *found, char *text, size_t size, int *error)
{
	return look(NULL, uid, found, text, size, error);
}
