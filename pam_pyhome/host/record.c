/* Records in the system's log, in journald's own protocol, as ../kernel/log.py writes them; without journald a line to syslog. */
#include "events.h"

#include <errno.h>
#include <security/pam_ext.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define JOURNAL "/run/systemd/journal/socket"
#define VALUE_MAX 1024
#define RECORD_MAX 8192

struct fields {
	char bytes[RECORD_MAX];
	size_t size;
};

/* In the form in which a line feed in the value ends nothing: the name, the number of bytes, and so many bytes. */
static void add(struct fields *fields, const char *name, const char *value)
{
	size_t long_name = strlen(name), long_value = strnlen(value, VALUE_MAX);
	if (long_value == 0 || fields->size + long_name + long_value + 10 > sizeof fields->bytes)
		return;
	char *at = fields->bytes + fields->size;
	memcpy(at, name, long_name);
	at += long_name;
	*at++ = '\n';
	for (unsigned int bits = 0; bits < 64; bits += 8)
		*at++ = (char)((uint64_t)long_value >> bits & 0xFF);
	memcpy(at, value, long_value);
	at[long_value] = '\n';
	fields->size += long_name + long_value + 10;
}

/* False only if there is no journald. What it has no room for is lost: no login waits for the log for longer than a moment. */
static bool send_record(const struct fields *fields)
{
	struct sockaddr_un journal = {.sun_family = AF_UNIX, .sun_path = JOURNAL};
	struct timeval patience = {.tv_usec = 100000};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return false;
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
	ssize_t sent = sendto(fd, fields->bytes, fields->size, MSG_NOSIGNAL, (struct sockaddr *)&journal, sizeof journal);
	bool taken = sent >= 0 || errno == EAGAIN;
	close(fd);
	return taken;
}

static const char *item_of(pam_handle_t *pamh, int item)
{
	const void *value = NULL;
	return pam_get_item(pamh, item, &value) == PAM_SUCCESS && value != NULL ? value : "";
}

static void keep_on_one_line(char *text)
{
	for (; *text != '\0'; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7F)
			*text = '?';
}

void record(pam_handle_t *pamh, const struct passwd *pw, const struct event *event, const char *format, ...)
{
	char why[VALUE_MAX / 2], line[VALUE_MAX], number[16] = "";
	const char *user = item_of(pamh, PAM_USER), *service = item_of(pamh, PAM_SERVICE);
	struct fields fields = {.size = 0};
	int error = errno;
	va_list list;
	va_start(list, format);
	vsnprintf(why, sizeof why, format, list);
	va_end(list);
	keep_on_one_line(why);
	if (pw != NULL)
		snprintf(number, sizeof number, "%u", (unsigned int)pw->pw_uid);
	snprintf(line, sizeof line, "%.64s: %s%.256s%s%s: %s", service, *user != '\0' ? "user " : "", user, *user != '\0' ? ": " : "",
		 event->text, why);
	keep_on_one_line(line);
	add(&fields, "MESSAGE", line);
	add(&fields, "MESSAGE_ID", event->id);
	add(&fields, "PRIORITY", (char[]){(char)('0' + event->priority), '\0'});
	add(&fields, "SYSLOG_FACILITY", "10");
	add(&fields, "SYSLOG_IDENTIFIER", "pam_pyhome");
	add(&fields, "PYHOME_WHAT", event->name);
	add(&fields, "PYHOME_WHY", why);
	add(&fields, "PYHOME_SERVICE", service);
	add(&fields, "USER", user);
	add(&fields, "UID", number);
	add(&fields, "HOME", pw != NULL ? pw->pw_dir : "");
	if (!send_record(&fields))
		pam_syslog(pamh, event->priority, "user %s: %s: %s", user, event->text, why);
	errno = error;
}
