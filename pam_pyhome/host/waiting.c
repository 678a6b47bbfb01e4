/*
 * The worker that opened a home in auth waits for the session, so that a login starts Python once. It is only ever a short cut:
 * what the session needs is in the handle and in the kernel, and if this worker is gone, another one does the work.
 */
#include "pam_pyhome.h"

#include <security/pam_ext.h>
#include <stdlib.h>
#include <unistd.h>

/* Also runs in forked copies of the process; the worker ends when the last of them has closed. */
static void waiting_cleanup(pam_handle_t *pamh, void *data, int status)
{
	(void)pamh;
	(void)status;
	struct own_fd *waiting = data;
	if (waiting != NULL && own_fd_valid(waiting))
		close(waiting->fd);
	free(waiting);
}

/* Keeps the shim's end of the socket in the handle; closes it if that is not possible. */
void worker_keep(struct call *call, int fd)
{
	char *key = data_name("worker", call->pw.pw_name);
	struct own_fd *waiting = malloc(sizeof *waiting);
	bool kept = key != NULL && waiting != NULL && own_fd_keep(waiting, fd) &&
		    pam_set_data(call->pamh, key, waiting, waiting_cleanup) == PAM_SUCCESS;
	free(key);
	if (kept)
		return;
	free(waiting);
	close(fd);
}

/* The socket to the worker that waits for this session, which is the caller's from now on, or -1. */
int worker_recall(struct call *call)
{
	const void *found = NULL;
	char *key = data_name("worker", call->pw.pw_name);
	int fd = -1;
	if (key != NULL && pam_get_data(call->pamh, key, &found) == PAM_SUCCESS && found != NULL) {
		if (own_fd_valid(found))
			fd = fd_copy_high(((const struct own_fd *)found)->fd);
		pam_set_data(call->pamh, key, NULL, NULL); /* the cleanup closes */
	}
	free(key);
	return fd;
}
