/*
 * Whether sshd asks this connection for more than its key because `pyhome sshd apply` wants that. AuthenticationMethods of the
 * site's own, in a Match block or in another sshd's file, ask for the site's modules instead, and no key stands in for those.
 * Only sshd knows what applies to whom, so the one that listens is asked, with its own arguments.
 */
#include "pam_pyhome.h"
#include "events.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define METHODS "publickey,keyboard-interactive:pam"
#define OURS METHODS " " METHODS /* config.UNLOCK_METHODS: nobody else names the same twice */
#define TITLE_MAX 4096
#define DUMP_MAX 65536
#define WORDS_MAX 64
#define LEVELS_MAX 5

/* Has this very connection passed a public key already? sshd says so in SSH_AUTH_INFO_0, one line for each method passed. */
bool passed_public_key(const struct call *call)
{
	const char *info = pam_getenv(call->pamh, "SSH_AUTH_INFO_0");
	if (info == NULL || strcmp(call->service, "sshd") != 0)
		return false;
	return strncmp(info, "publickey ", 10) == 0 || strstr(info, "\npublickey ") != NULL;
}

/* The beginning of a file of /proc, as a string. False: nothing could be read. */
static bool proc_read(pid_t pid, const char *name, char *text, size_t size)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%ld/%s", (long)pid, name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got = fd >= 0 ? read(fd, text, size - 1) : -1;
	if (fd >= 0)
		close(fd);
	text[got > 0 ? got : 0] = '\0';
	return got > 0;
}

static pid_t parent_of(pid_t pid)
{
	char text[512];
	const char *rest = proc_read(pid, "stat", text, sizeof text) ? strrchr(text, ')') : NULL;
	return rest != NULL && strlen(rest) > 4 ? (pid_t)strtol(rest + 4, NULL, 10) : 0; /* behind ") S " */
}

/*
 * The sshd that has accepted this connection: an ancestor whose title is "sshd: ARGUMENTS [listener] …". Leaves the arguments
 * in `title`. 0: none is to be found, as where a socket unit starts sshd for each connection, whose arguments nothing shows.
 */
static pid_t find_listener(char title[TITLE_MAX])
{
	pid_t pid = getpid();
	for (int level = 0; level < LEVELS_MAX && (pid = parent_of(pid)) > 1; level++) {
		char *end = proc_read(pid, "cmdline", title, TITLE_MAX) ? strstr(title, " [listener] ") : NULL;
		if (end != NULL && strncmp(title, "sshd: /", 7) == 0) {
			*end = '\0';
			memmove(title, title + 6, strlen(title + 6) + 1);
			return pid;
		}
	}
	return 0;
}

/* What sshd -C wants to know about the connection. False: it has no way to spell this, or sshd has not said where it comes from. */
static bool describe(const struct call *call, char *spec, size_t size)
{
	const void *host = NULL;
	const char *connection = pam_getenv(call->pamh, "SSH_CONNECTION");
	char *parts[4], *copy, *rest;
	int count = 0, length = -1;
	if (connection == NULL || pam_get_item(call->pamh, PAM_RHOST, &host) != PAM_SUCCESS || host == NULL)
		return false;
	if (strpbrk(call->user, ",\n") != NULL || strpbrk(host, ",\n") != NULL || strchr(connection, ',') != NULL)
		return false;
	copy = rest = strdup(connection); /* address and port from, address and port to */
	while (rest != NULL && count < 4)
		parts[count++] = strsep(&rest, " ");
	if (count == 4 && rest == NULL)
		length = snprintf(spec, size, "user=%s,host=%s,addr=%s,laddr=%s,lport=%s", call->user, (const char *)host, parts[0],
				  parts[2], parts[3]);
	free(copy);
	return length > 0 && (size_t)length < size;
}

/* Everything that a program writes, as a string to be freed. NULL: too much, too late, or there is no memory. */
static char *read_all(int fd)
{
	int64_t deadline = now_ms() + PYHOME_SSHD_MS;
	char *text = malloc(DUMP_MAX);
	size_t have = 0;
	while (text != NULL && have < DUMP_MAX - 1 && fd_wait(fd, POLLIN, deadline)) {
		ssize_t got = recv(fd, text + have, DUMP_MAX - 1 - have, MSG_DONTWAIT);
		if (got == 0) {
			text[have] = '\0';
			return text;
		}
		if (got < 0 && errno != EINTR && errno != EAGAIN)
			break;
		have += got > 0 ? (size_t)got : 0;
	}
	free(text);
	return NULL;
}

/* Newer releases of OpenSSH print keywords in upper and lower case. */
static bool dump_is_ours(char *dump)
{
	static const char keyword[] = "authenticationmethods ", ours[] = OURS;
	for (char *rest = dump; rest != NULL;) {
		const char *line = strsep(&rest, "\n");
		if (strncasecmp(line, keyword, sizeof keyword - 1) != 0)
			continue;
		const char *value = line + sizeof keyword - 1, *end = value + sizeof ours - 1;
		return rest != NULL && strncmp(value, ours, sizeof ours - 1) == 0 && (*end == '\0' || *end == ' ');
	}
	return false;
}

/* The output of `ARGUMENTS -T -C SPEC`, to be freed, or NULL. */
static char *ask(pid_t listener, char *arguments, char *spec)
{
	char path[64], test[] = "-T", connection[] = "-C";
	char *argv[WORDS_MAX + 4];
	int count = 0;
	for (char *rest = arguments; rest != NULL && count < WORDS_MAX;) {
		char *word = strsep(&rest, " ");
		if (*word == '\0')
			continue;
		argv[count++] = word;
		if (count == 1) {
			argv[count++] = test;
			argv[count++] = connection;
			argv[count++] = spec;
		}
	}
	if (count == 0 || count >= WORDS_MAX)
		return NULL;
	argv[count] = NULL;
	/* The very program that listens, even if a newer one has taken its place. */
	snprintf(path, sizeof path, "/proc/%ld/exe", (long)listener);
	int fd = program_spawn(path, argv, STDOUT_FILENO);
	char *dump = fd >= 0 ? read_all(fd) : NULL;
	if (fd >= 0)
		close(fd);
	return dump;
}

bool sshd_asks_for_us(const struct call *call)
{
	char title[TITLE_MAX], spec[1024];
	pid_t listener = find_listener(title);
	char *dump = listener > 0 && describe(call, spec, sizeof spec) ? ask(listener, title, spec) : NULL;
	bool ours = dump != NULL && dump_is_ours(dump);
	if (dump == NULL || *dump == '\0')
		record(call->pamh, NULL, NO_SSHD_ANSWER,
		       "cannot tell which AuthenticationMethods sshd applies here, so the modules behind ask as without a key");
	free(dump);
	return ours;
}
