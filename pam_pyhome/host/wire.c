/* Frames: `u32 length | u8 kind | body`, little-endian. The protocol is specified in formats/wire.py. */
#include "pam_pyhome.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

int64_t now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static unsigned char *take(struct frame *frame, size_t size)
{
	if (frame->bad || (size_t)(frame->end - frame->at) < size) {
		frame->bad = true;
		return NULL;
	}
	frame->at += size;
	return frame->at - size;
}

static uint32_t get_number(struct frame *frame, size_t size)
{
	uint32_t value = 0;
	const unsigned char *bytes = take(frame, size);
	for (size_t i = size; bytes != NULL && i > 0; i--)
		value = value << 8 | bytes[i - 1];
	return value;
}

uint32_t get_u32(struct frame *frame)
{
	return get_number(frame, 4);
}

uint16_t get_u16(struct frame *frame)
{
	return (uint16_t)get_number(frame, 2);
}

/* `*bytes` is NULL for the NULL blob. The bytes stay in the frame. */
bool get_blob(struct frame *frame, unsigned char **bytes, size_t *size)
{
	uint32_t length = get_u32(frame);
	*bytes = NULL;
	*size = 0;
	if (frame->bad || length == BLOB_NULL)
		return !frame->bad;
	*bytes = take(frame, length);
	*size = *bytes != NULL ? length : 0;
	return *bytes != NULL;
}

/* A blob as a C string, NULL for the NULL blob: moved into its own size field by one byte, which makes room for the NUL. */
char *get_string(struct frame *frame)
{
	unsigned char *bytes;
	size_t size;
	if (!get_blob(frame, &bytes, &size) || bytes == NULL)
		return NULL;
	if (memchr(bytes, '\0', size) != NULL) {
		frame->bad = true;
		return NULL;
	}
	memmove(bytes - 1, bytes, size);
	bytes[(ptrdiff_t)size - 1] = '\0';
	return (char *)bytes - 1;
}

bool got_all(const struct frame *frame)
{
	return !frame->bad && frame->at == frame->end;
}

static void put_number(struct frame *frame, uint32_t value, size_t size)
{
	unsigned char *bytes = take(frame, size);
	for (size_t i = 0; bytes != NULL && i < size; i++, value >>= 8)
		bytes[i] = (unsigned char)value;
}

void put_u8(struct frame *frame, uint8_t value)
{
	put_number(frame, value, 1);
}

void put_u16(struct frame *frame, uint16_t value)
{
	put_number(frame, value, 2);
}

void put_u32(struct frame *frame, uint32_t value)
{
	put_number(frame, value, 4);
}

void put_blob(struct frame *frame, const void *bytes, size_t size)
{
	put_u32(frame, bytes != NULL ? (uint32_t)size : BLOB_NULL);
	unsigned char *to = bytes != NULL ? take(frame, size) : NULL;
	if (to != NULL)
		memcpy(to, bytes, size);
}

void put_string(struct frame *frame, const char *text)
{
	put_blob(frame, text, text != NULL ? strlen(text) : 0);
}

bool fd_wait(int fd, short events, int64_t deadline)
{
	for (;;) {
		int64_t left = deadline - now_ms();
		if (left <= 0)
			return false;
		struct pollfd one = {.fd = fd, .events = events};
		int ready = poll(&one, 1, (int)left);
		if (ready > 0)
			return true;
		if (ready < 0 && errno != EINTR)
			return false;
	}
}

/* Moves exactly `size` bytes one way or the other before the deadline. */
static bool transfer(int fd, bool out, unsigned char *bytes, size_t size, int64_t deadline)
{
	while (size > 0) {
		if (!fd_wait(fd, out ? POLLOUT : POLLIN, deadline))
			return false;
		ssize_t done = out ? send(fd, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL) : recv(fd, bytes, size, MSG_DONTWAIT);
		if (done == 0 || (done < 0 && errno != EINTR && errno != EAGAIN))
			return false;
		if (done > 0) {
			bytes += done;
			size -= (size_t)done;
		}
	}
	return true;
}

static int64_t deadline_from(int64_t start, int budget_ms)
{
	return start + (budget_ms < PYHOME_FRAME_MS ? budget_ms : PYHOME_FRAME_MS);
}

/* Fills in the length and sends what was put into the frame; the time goes off the budget. */
bool frame_send(int fd, struct frame *frame, int *budget_ms)
{
	int64_t start = now_ms();
	size_t size = (size_t)(frame->at - frame->start);
	struct frame head = {frame->start, frame->start, frame->start + 4, false};
	put_u32(&head, (uint32_t)size - 4);
	bool sent = !frame->bad && transfer(fd, true, frame->start, size, deadline_from(start, *budget_ms));
	*budget_ms -= (int)(now_ms() - start);
	return sent;
}

/* Receives one whole frame into the buffer at `frame->start`; `at` and `end` then bound its body. */
bool frame_receive(int fd, struct frame *frame, uint8_t *kind, int *budget_ms)
{
	int64_t start = now_ms(), deadline = deadline_from(start, *budget_ms);
	struct frame head = {frame->start, frame->start, frame->start + 4, false};
	bool whole = transfer(fd, false, frame->start, 4, deadline);
	uint32_t length = get_u32(&head);
	whole = whole && length >= 1 && length <= FRAME_MAX && transfer(fd, false, frame->start + 4, length, deadline);
	*budget_ms -= (int)(now_ms() - start);
	if (!whole)
		return false;
	*kind = frame->start[4];
	frame->at = frame->start + 5;
	frame->end = frame->start + 4 + length;
	frame->bad = false;
	return true;
}
