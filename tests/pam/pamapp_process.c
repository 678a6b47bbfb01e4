/* What a test application does to itself: descriptors, limits, identities, children. */
#include "pamapp.h"

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <malloc.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile sig_atomic_t sigchld_count;
static pid_t own_child;

long rss_kib(void)
{
	long size = 0, resident = 0;
	malloc_trim(0);
	FILE *file = fopen("/proc/self/statm", "re");
	if (fscanf(file, "%ld %ld", &size, &resident) != 2)
		_exit(96);
	fclose(file);
	return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

int count_fds(void)
{
	int count = -3; /* `.`, `..` and the descriptor of the listing */
	DIR *list = opendir("/proc/self/fd");
	while (readdir(list) != NULL)
		count++;
	closedir(list);
	return count;
}

static void on_sigchld(int number)
{
	(void)number;
	sigchld_count++;
}

/* The hard limit too, but only where root can raise it again: containers may lack that, and there nobody can. */
static void lower(int which, rlim_t soft)
{
	struct rlimit limit;
	getrlimit((__rlimit_resource_t)which, &limit);
	limit.rlim_cur = soft;
	if (prctl(PR_CAPBSET_READ, CAP_SYS_RESOURCE) == 1)
		limit.rlim_max = soft;
	setrlimit((__rlimit_resource_t)which, &limit);
}

static void hostile(const char *directory)
{
	lower(RLIMIT_NOFILE, 40);
	lower(RLIMIT_FSIZE, 0);
	lower(RLIMIT_CPU, 600);
#ifndef __SANITIZE_ADDRESS__ /* whose shadow memory is larger than any sensible limit */
	lower(RLIMIT_DATA, 1 << 30);
#endif
	umask(0);
	if (chdir(directory) < 0 || nice(7) < 0)
		_exit(95);
	unsigned long all = ~0UL;
	unsigned long ignore[8] = {(unsigned long)SIG_IGN};
	for (long i = 1; i <= 64; i++)
		syscall(SYS_rt_sigaction, i, ignore, NULL, 8L);
	syscall(SYS_rt_sigprocmask, (long)SIG_BLOCK, &all, NULL, 8L);
	setgroups(3, (gid_t[]){4, 5, 6});
	for (int fd = 20; fd < 25; fd++)
		dup2(2, fd);
}

static void run_as(const char *spec)
{
	char name[64];
	const char *command = strchr(spec, ':') + 1;
	snprintf(name, sizeof name, "%.*s", (int)(command - spec - 1), spec);
	pid_t pid = fork();
	if (pid == 0) {
		const struct passwd *pw = getpwnam(name);
		if (pw == NULL || initgroups(name, pw->pw_gid) < 0 || setresgid(pw->pw_gid, pw->pw_gid, pw->pw_gid) < 0 ||
		    setresuid(pw->pw_uid, pw->pw_uid, pw->pw_uid) < 0)
			_exit(94);
		dup2(out_fd, 1);
		execl("/bin/sh", "sh", "-c", command, (char *)NULL);
		_exit(127);
	}
	int status = 0;
	waitpid(pid, &status, 0);
	say("sh %d", WIFEXITED(status) ? WEXITSTATUS(status) : -1);
}

static void with_children(const char *step)
{
	if (strcmp(step, "ignore-sigchld") == 0) {
		signal(SIGCHLD, SIG_IGN);
	} else if (strcmp(step, "count-sigchld") == 0) {
		signal(SIGCHLD, on_sigchld);
	} else if (strcmp(step, "sigchld") == 0) {
		say("sigchld %d", (int)sigchld_count);
	} else if (strcmp(step, "waitany") == 0) {
		say("waitany %d", (int)waitpid(-1, NULL, WNOHANG));
	} else if (strcmp(step, "fork-own") == 0) {
		own_child = fork();
		if (own_child == 0) {
			pause();
			_exit(0);
		}
	} else if (strcmp(step, "reap-own") == 0) {
		kill(own_child, SIGKILL);
		say("reap-own %s", waitpid(-1, NULL, 0) == own_child && waitpid(-1, NULL, 0) == -1 ? "yes" : "no");
	}
}

/* Of this thread, as the kernel has them. */
static void print_ids(void)
{
	char line[256];
	FILE *file = fopen("/proc/thread-self/status", "re");
	while (fgets(line, sizeof line, file) != NULL)
		if (strncmp(line, "Uid:", 4) == 0 || strncmp(line, "Gid:", 4) == 0) {
			line[strcspn(line, "\n")] = '\0';
			for (char *at = line; *at != '\0'; at++)
				if (*at == '\t')
					*at = ' ';
			say("%s", line);
		}
	fclose(file);
}

void with_process(const char *step)
{
	if (strcmp(step, "close-std") == 0) {
		out_fd = fcntl(1, F_DUPFD_CLOEXEC, 30);
		in_fd = fcntl(0, F_DUPFD_CLOEXEC, 31);
		close(0);
		close(1);
		close(2);
	} else if (strcmp(step, "close-high") == 0) {
		close_range(10, 29, 0);
		say("reopened %d", fcntl(out_fd, F_DUPFD_CLOEXEC, 10)); /* a stranger on the number of the lease */
	} else if (strncmp(step, "hostile=", 8) == 0) {
		hostile(step + 8);
	} else if (strcmp(step, "no-files") == 0) {
		lower(RLIMIT_FSIZE, 0);
	} else if (strncmp(step, "ruid=", 5) == 0) {
		if (setresuid((uid_t)atoi(step + 5), 0, 0) < 0)
			_exit(93);
	} else if (strncmp(step, "euid=", 5) == 0) {
		if (seteuid((uid_t)atoi(step + 5)) < 0)
			_exit(93);
	} else if (strcmp(step, "join") == 0) {
		syscall(SYS_keyctl, (long)KEYCTL_JOIN_SESSION_KEYRING, NULL, 0L, 0L, 0L);
	} else if (strncmp(step, "sh=", 3) == 0) {
		run_as(step + 3);
	} else if (strcmp(step, "pid") == 0) {
		say("pid %d", (int)getpid());
	} else if (strncmp(step, "sleep=", 6) == 0) {
		usleep((useconds_t)atoi(step + 6) * 1000);
	} else if (strcmp(step, "fds") == 0) {
		say("fds %d", count_fds());
	} else if (strncmp(step, "fd=", 3) == 0) {
		say("fd %s", fcntl(atoi(step + 3), F_GETFD) >= 0 ? "open" : "closed");
	} else if (strcmp(step, "uids") == 0) {
		print_ids();
	} else if (strcmp(step, "wait") == 0) {
		char line[16];
		if (read(in_fd, line, sizeof line) < 0)
			_exit(92);
	} else {
		with_children(step);
	}
}
