/*
 * A worker that says whatever it likes, to the shim in a handle of the real libpam: all verbs, answers of all kinds of applications,
 * and the worker that waits for the session.
 *
 * Input: `u8 how | u8 answers`, and then frames, each `u8 kind | u16 size | body`; with RAW in `how` the bytes go as they are.
 */
#include "events.h"
#include "pam_pyhome.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <security/pam_appl.h>

enum { RAW = 1, SILENT = 2, NO_CONVERSATION = 4, NO_KEYS = 8, NOT_STARTED = 16, PASSWORD = 32 };
#define STREAM_MAX 131072

static unsigned char stream[STREAM_MAX];
static size_t stream_size;
static uint8_t how, answers;
static volatile unsigned char sink;

/* spawn.c: the worker has said everything already. */
int worker_spawn(void)
{
	int ends[2];
	if ((how & NOT_STARTED) != 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		return -1;
	if (write(ends[1], stream, stream_size) != (ssize_t)stream_size)
		abort();
	shutdown(ends[1], SHUT_WR);
	int fd = fd_copy_high(ends[0]); /* as spawn.c has it */
	close(ends[0]);
	close(ends[1]);
	return fd;
}

/* wire.c, compiled with send named so: the worker reads all that it is told, which must be a whole frame. */
ssize_t worker_reads(int fd, const void *bytes, size_t size, int flags)
{
	(void)fd;
	(void)flags;
	const unsigned char *frame = bytes;
	for (size_t i = 0; i < size; i++)
		sink ^= frame[i];
	uint32_t length = (uint32_t)frame[0] | (uint32_t)frame[1] << 8 | (uint32_t)frame[2] << 16 | (uint32_t)frame[3] << 24;
	if (size < 5 || length != size - 4 || length > FRAME_MAX || (frame[4] != 1 && frame[4] != 2))
		abort();
	return (ssize_t)size;
}

/* keyring.c would put keys into the keyring of whoever runs this. */
int session_key_add(const struct passwd *pw, const char *description, const void *payload, size_t size, uint32_t perm, int32_t *serial)
{
	(void)perm;
	sink ^= (unsigned char)(strlen(description) ^ strlen(pw->pw_name));
	for (size_t i = 0; i < size; i++)
		sink ^= ((const unsigned char *)payload)[i];
	*serial = (how & NO_KEYS) != 0 ? -1 : 4711;
	return (how & NO_KEYS) != 0 ? PAM_SESSION_ERR : PAM_SUCCESS;
}

/* Nothing is logged, but everything that would be is read. */
void record(pam_handle_t *pamh, const struct passwd *pw, const struct event *event, const char *format, ...)
{
	char text[1024];
	va_list list;
	(void)pamh;
	(void)pw;
	(void)event;
	va_start(list, format);
	vsnprintf(text, sizeof text, format, list);
	va_end(list);
	sink ^= (unsigned char)text[0];
}

/* An application; two bits of `answers` for each message, or all of it for how it fails. */
static int converse_as_told(int count, const struct pam_message **asked, struct pam_response **responses, void *data)
{
	(void)data;
	*responses = NULL;
	if (answers >= 0xF0)
		return answers - 0xF8; /* codes that there are not, as well */
	if (answers == 0xEF)
		return PAM_SUCCESS; /* and no answers */
	*responses = calloc((size_t)count, sizeof **responses);
	for (int i = 0; i < count; i++) {
		sink ^= (unsigned char)strlen(asked[i]->msg);
		switch (answers >> i % 4 * 2 & 3) {
		case 1:
			(*responses)[i].resp = strdup("answer");
			break;
		case 2:
			(*responses)[i].resp = calloc(1, PAM_MAX_RESP_SIZE + 2);
			memset((*responses)[i].resp, 'x', PAM_MAX_RESP_SIZE + (size_t)(i % 2));
			break;
		case 3:
			(*responses)[i].resp = strdup("");
			break;
		default:
			break;
		}
	}
	return PAM_SUCCESS;
}

/* Two phases, as at a login, or one in which a password is changed. */
int in_module(pam_handle_t *pamh)
{
	enum phase phases[] = {(how & PASSWORD) != 0 ? PHASE_PASSWORD : PHASE_AUTH, PHASE_OPEN};
	for (size_t i = 0; i < sizeof phases / sizeof *phases; i++) {
		const char *tokens[] = {"debug", "skip_services=cron"};
		const void *user = NULL, *service = NULL;
		struct call call = {.pamh = pamh, .phase = phases[i], .flags = (how & SILENT) != 0 ? (int)PAM_SILENT : 0};
		int code = -1;
		pam_get_item(pamh, PAM_USER, &user);
		pam_get_item(pamh, PAM_SERVICE, &service);
		if (user == NULL || service == NULL)
			break;
		call.user = user;
		call.service = service;
		call.set.tokens = tokens;
		call.set.count = 2;
		call.pw = (struct passwd){.pw_name = "ada", .pw_uid = 61001, .pw_gid = 61001, .pw_dir = "/home/ada"};
		if (worker_run(&call, &code) && (code < 0 || code >= _PAM_RETURN_VALUES))
			abort();
		answer_remember(&call, code);
		if (answer_recall(&call, -2) != code)
			abort();
	}
	return PAM_SUCCESS;
}

static void no_delay(int code, unsigned int microseconds, void *data)
{
	(void)code;
	(void)microseconds;
	(void)data;
}

static void read_stream(const uint8_t *bytes, size_t size)
{
	stream_size = 0;
	if ((how & RAW) != 0) {
		stream_size = size < STREAM_MAX ? size : STREAM_MAX;
		memcpy(stream, bytes, stream_size);
		return;
	}
	while (size >= 3) {
		size_t body = (size_t)bytes[1] | (size_t)bytes[2] << 8;
		body = body < size - 3 ? body : size - 3;
		if (stream_size + body + 5 > STREAM_MAX)
			break;
		unsigned char *to = stream + stream_size;
		for (int i = 0; i < 4; i++)
			to[i] = (unsigned char)((body + 1) >> 8 * i);
		to[4] = bytes[0];
		memcpy(to + 5, bytes + 3, body);
		stream_size += body + 5;
		bytes += body + 3;
		size -= body + 3;
	}
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	return dlopen(FUZZ_DIRECTORY "/pam_fuzz.so", RTLD_NOW) != NULL ? 0 : 1; /* so that libpam need not load it each time */
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	pam_handle_t *pamh = NULL;
	if (size < 2)
		return 0;
	how = bytes[0];
	answers = bytes[1];
	read_stream(bytes + 2, size - 2);
	struct pam_conv conversation = {converse_as_told, NULL}, none = {NULL, NULL};
	if (pam_start_confdir("fuzz", "ada", (how & NO_CONVERSATION) != 0 ? &none : &conversation, FUZZ_DIRECTORY, &pamh) != PAM_SUCCESS)
		abort();
	union {
		void (*function)(int, unsigned int, void *);
		const void *item;
	} delay = {.function = no_delay};
	pam_set_item(pamh, PAM_FAIL_DELAY, delay.item);
	if (pam_authenticate(pamh, 0) != PAM_SUCCESS)
		abort();
	pam_end(pamh, PAM_SUCCESS);
	return 0;
}
