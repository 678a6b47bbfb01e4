/* Descriptors that live in somebody else's process. */
#include "pam_pyhome.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define FIRST_FREE 10 /* out of the way of 0-2, which the host may have closed, and of 3 */

/* A copy of a descriptor at 10 or above, close-on-exec, or -1. */
int fd_copy_high(int fd)
{
	return fcntl(fd, F_DUPFD_CLOEXEC, FIRST_FREE);
}

/* Moves a descriptor to 10 or above, close-on-exec. -1: it could not be moved and is closed. */
int fd_move_high(int fd)
{
	if (fd < 0 || fd >= FIRST_FREE)
		return fd;
	int high = fd_copy_high(fd);
	int saved = errno;
	close(fd);
	errno = saved;
	return high;
}

/* Notes what `fd` is, for a later phase. False: it cannot be told, and nothing is noted. */
bool own_fd_keep(struct own_fd *own, int fd)
{
	struct stat st;
	if (fstat(fd, &st) < 0)
		return false;
	*own = (struct own_fd){fd, st.st_dev, st.st_ino};
	return true;
}

/* Is it still what was noted? */
bool own_fd_valid(const struct own_fd *own)
{
	struct stat st;
	return fstat(own->fd, &st) == 0 && st.st_dev == own->dev && st.st_ino == own->ino;
}
