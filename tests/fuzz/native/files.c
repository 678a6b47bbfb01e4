/*
 * Files that the shim reads: the configuration with the arguments of the PAM line, and the record of an open home. They are root's;
 * what is in them is checked all the same. Input: `u8 how`, and the file.
 */
static const char *conf_path(void);
#define PYHOME_CONF conf_path()
#include "config.c"
#include "home.c"

static const char *conf_path(void)
{
	static char path[sizeof FUZZ_DIRECTORY + 32];
	if (path[0] == '\0')
		snprintf(path, sizeof path, FUZZ_DIRECTORY "/conf.%d", (int)getpid());
	return path;
}

/* lease.c: there is no record on the disk. */
int run_dir_open(uid_t uid, bool create)
{
	(void)uid;
	(void)create;
	return -1;
}

void record(pam_handle_t *pamh, const struct passwd *pw, const struct event *event, const char *format, ...)
{
	(void)pamh;
	(void)pw;
	(void)event;
	(void)format;
}

static void read_settings(const uint8_t *bytes, size_t size, bool with_arguments)
{
	const char *arguments[] = {"debug", "jobs=refuse", "", "skip_services=a,,b \tc"};
	int fd = open(conf_path(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, bytes, size) != (ssize_t)size || close(fd) < 0)
		abort();
	struct settings set;
	if (!settings_read(NULL, with_arguments ? 4 : 0, arguments, &set))
		abort();
	for (size_t i = 0; i < set.count; i++) {
		if (strchr(set.tokens[i], '\n') != NULL || (!with_arguments && set.tokens[i][0] == '\0'))
			abort();
	}
	if (service_listed(set.skip, "") || (with_arguments && !service_listed(set.skip, "c")))
		abort();
	settings_free(&set);
}

static void read_one_record(const uint8_t *bytes, size_t size)
{
	/* As read_record leaves it. */
	if (size == 0 || size >= RECORD_MAX || memchr(bytes, '\0', size) != NULL)
		return;
	char *text = malloc(size + 1);
	memcpy(text, bytes, size);
	text[size] = '\0';
	struct record record;
	if (parse_record(text, &record) && record.mountpoint[0] != '/')
		abort();
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	if (size < 1)
		return 0;
	if (bytes[0] % 4 == 3)
		read_settings(bytes + 1, size - 1, bytes[0] >= 128);
	else
		read_one_record(bytes + 1, size - 1);
	return 0;
}
