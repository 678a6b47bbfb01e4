/* Bytes on a socket, received as frames and taken apart: wire.c. Input: `u8 count`, so many operations, one byte each, and the stream. */
#include "pam_pyhome.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static volatile unsigned char sink;

static void take_apart(struct frame *frame, const uint8_t *operations, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		unsigned char *bytes = NULL;
		size_t size = 0;
		const char *text;
		switch (operations[i] % 4) {
		case 0:
			sink ^= (unsigned char)get_u32(frame);
			break;
		case 1:
			sink ^= (unsigned char)get_u16(frame);
			break;
		case 2:
			if (get_blob(frame, &bytes, &size) == frame->bad)
				abort();
			for (size_t at = 0; at < size; at++)
				sink ^= bytes[at];
			break;
		default:
			text = get_string(frame);
			sink ^= text != NULL ? (unsigned char)strlen(text) : 0;
			break;
		}
		if (frame->at > frame->end || (frame->bad && got_all(frame)))
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	int ends[2], budget_ms = PYHOME_FRAME_MS;
	if (size < 1 || size - 1 < bytes[0] || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		return 0;
	size_t operations = bytes[0], left = size - 1 - operations;
	if (write(ends[1], bytes + 1 + operations, left) != (ssize_t)left)
		abort();
	close(ends[1]);
	struct frame frame = {.start = malloc(FRAME_MAX + 4)};
	uint8_t kind = 0;
	while (frame_receive(ends[0], &frame, &kind, &budget_ms)) {
		sink ^= kind;
		take_apart(&frame, bytes + 1, operations);
	}
	free(frame.start);
	close(ends[0]);
	return 0;
}
