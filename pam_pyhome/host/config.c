/* The tokens: the lines of the configuration file, then the module arguments. */
#include "pam_pyhome.h"
#include "events.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CONF_MAX 65536
#define DEFAULT_SKIP "cron,crond,atd,sudo,sudo-i,systemd-user"

/* The file's bytes with a NUL behind them, or NULL if there is no file that may be believed. */
static char *conf_load(pam_handle_t *pamh)
{
	int fd = open(PYHOME_CONF, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0) {
		if (errno != ENOENT)
			record(pamh, NULL, SETTING_IGNORED, "%s: %m", PYHOME_CONF);
		return NULL;
	}
	struct stat st;
	char *text = NULL;
	size_t have = 0;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_uid != 0 || (st.st_mode & 022) != 0 || st.st_size > CONF_MAX) {
		record(pamh, NULL, SETTING_IGNORED, "%s is not a regular file of root that nobody else can write, at most %d bytes",
		       PYHOME_CONF, CONF_MAX);
	} else if ((text = malloc(CONF_MAX + 1)) != NULL) {
		ssize_t got;
		while (have < CONF_MAX && ((got = read(fd, text + have, CONF_MAX - have)) > 0 || (got < 0 && errno == EINTR)))
			have += got > 0 ? (size_t)got : 0;
		text[have] = '\0';
		if (strlen(text) != have) {
			record(pamh, NULL, SETTING_IGNORED, "%s contains a NUL", PYHOME_CONF);
			free(text);
			text = NULL;
		}
	}
	close(fd);
	return text;
}

/* Trims `line` in place and removes the spaces around its first `=`. NULL: nothing in it. */
static char *conf_token(char *line)
{
	while (isspace((unsigned char)*line))
		line++;
	char *end = line + strlen(line);
	while (end > line && isspace((unsigned char)end[-1]))
		*--end = '\0';
	if (*line == '\0' || *line == '#')
		return NULL;
	char *equals = strchr(line, '=');
	if (equals == NULL)
		return line;
	char *value = equals + 1, *name_end = equals;
	while (isspace((unsigned char)*value))
		value++;
	while (name_end > line && isspace((unsigned char)name_end[-1]))
		name_end--;
	*name_end++ = '=';
	memmove(name_end, value, strlen(value) + 1);
	return line;
}

static void understand(struct settings *set, const char *token)
{
	if (strcmp(token, "authenticate") == 0)
		set->authenticate = true;
	else if (strcmp(token, "debug") == 0)
		set->debug = true;
	else if (strncmp(token, "skip_services=", 14) == 0)
		set->skip = token + 14;
	else if (strcmp(token, "ssh-unlock") == 0)
		set->ssh_unlock = true;
	else if (strcmp(token, "jobs=refuse") == 0 || strcmp(token, "jobs=run") == 0)
		set->refuse_jobs = strcmp(token, "jobs=refuse") == 0;
}

/* Reads all tokens; the last one of a kind counts. False: out of memory. */
bool settings_read(pam_handle_t *pamh, int argc, const char **argv, struct settings *set)
{
	*set = (struct settings){.skip = DEFAULT_SKIP};
	set->text = conf_load(pamh);
	size_t room = (size_t)(argc > 0 ? argc : 0) + 1;
	for (const char *at = set->text; at != NULL && (at = strchr(at, '\n')) != NULL; at++)
		room++;
	set->tokens = calloc(room, sizeof *set->tokens);
	if (set->tokens == NULL)
		return false;
	for (char *rest = set->text; rest != NULL;) {
		char *token = conf_token(strsep(&rest, "\n"));
		if (token != NULL)
			set->tokens[set->count++] = token;
	}
	for (int i = 0; i < argc; i++)
		set->tokens[set->count++] = argv[i];
	for (size_t i = 0; i < set->count; i++)
		understand(set, set->tokens[i]);
	return true;
}

void settings_free(struct settings *set)
{
	free(set->tokens);
	free(set->text);
}

/* Is `service` one of the names in `list`, which are separated by commas or spaces? */
bool service_listed(const char *list, const char *service)
{
	size_t wanted = strlen(service);
	while (*list != '\0') {
		size_t size = strcspn(list, ", \t");
		if (size == wanted && size > 0 && memcmp(list, service, size) == 0)
			return true;
		list += size + (list[size] != '\0');
	}
	return false;
}

/* A number from `text` on, digits only, up to what an unsigned int holds. False: none, or one that is larger. */
bool number_read(const char *text, const char **end, unsigned int *number)
{
	char *rest;
	if (!isdigit((unsigned char)*text))
		return false;
	errno = 0;
	unsigned long value = strtoul(text, &rest, 10);
	*end = rest;
	*number = (unsigned int)value;
	return errno == 0 && value <= UINT_MAX;
}

/* Ordinary users begin here. As the shadow tools read it: the last line counts. */
uid_t uid_min(void)
{
	static const char spaces[] = " \t\n\v\f\r";
	uid_t found = 1000;
	char *line = NULL, *rest;
	size_t room = 0;
	FILE *file = fopen("/etc/login.defs", "re");
	while (file != NULL && getline(&line, &room, file) >= 0) {
		const char *name = strtok_r(line, spaces, &rest), *end;
		const char *word = name != NULL ? strtok_r(NULL, spaces, &rest) : NULL;
		unsigned int value;
		/* policy/users.py has the same rule. */
		if (word != NULL && strcmp(name, "UID_MIN") == 0 && strlen(word) <= 10 && number_read(word, &end, &value) && *end == '\0' &&
		    value < (uid_t)-1)
			found = value;
	}
	free(line);
	if (file != NULL)
		fclose(file);
	return found;
}
