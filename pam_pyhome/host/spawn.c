/* Starts the worker so that neither the host nor whoever started the host has a hand in it. */
#include "pam_pyhome.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/ioprio.h>
#include <linux/securebits.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIGNALS 64
#define TIMER_SLACK_NS 50000L /* the kernel's own default */

#ifdef SYS_setresuid32
#define CALL_SETRESUID SYS_setresuid32
#define CALL_SETRESGID SYS_setresgid32
#define CALL_SETGROUPS SYS_setgroups32
#else
#define CALL_SETRESUID SYS_setresuid
#define CALL_SETRESGID SYS_setresgid
#define CALL_SETGROUPS SYS_setgroups
#endif

/* Like fork(), but the end of the child sends no SIGCHLD and is invisible to a plain waitpid(-1). No atfork handlers run. */
static pid_t silent_fork(void)
{
	return (pid_t)syscall(SYS_clone, 0L, 0L, 0L, 0L, 0L);
}

/* From here on everything runs in the child, maybe of a threaded host: plain system calls only, no C library state. */

static void reset_limit(int which, rlim_t soft, rlim_t hard)
{
	struct rlimit limit = {soft, hard};
	if (setrlimit((__rlimit_resource_t)which, &limit) == 0 || getrlimit((__rlimit_resource_t)which, &limit) < 0)
		return;
	limit.rlim_cur = soft < limit.rlim_max ? soft : limit.rlim_max; /* without CAP_SYS_RESOURCE: as much as there is */
	setrlimit((__rlimit_resource_t)which, &limit);
}

static void reset_limits(void)
{
	static const int endless[] = {RLIMIT_AS,   RLIMIT_CPU, RLIMIT_DATA,  RLIMIT_FSIZE,	RLIMIT_LOCKS, RLIMIT_MEMLOCK,
				      RLIMIT_NPROC, RLIMIT_RSS, RLIMIT_RTTIME, RLIMIT_SIGPENDING};
	for (size_t i = 0; i < sizeof endless / sizeof *endless; i++)
		reset_limit(endless[i], RLIM_INFINITY, RLIM_INFINITY);
	reset_limit(RLIMIT_STACK, 8 << 20, RLIM_INFINITY);
	reset_limit(RLIMIT_NOFILE, 1024, 524288);
	reset_limit(RLIMIT_MSGQUEUE, 819200, 819200);
	reset_limit(RLIMIT_NICE, 0, 0);
	reset_limit(RLIMIT_RTPRIO, 0, 0);
	reset_limit(RLIMIT_CORE, 1, 1); /* the one limit that also stops cores from going to a program, as systemd-coredump */
}

/* By the raw calls: the C library refuses the two signals that it keeps for itself, but a caller can have ignored them. */
static void reset_signals(void)
{
	static const unsigned long none[8];
	for (long number = 1; number <= SIGNALS; number++)
		syscall(SYS_rt_sigaction, number, none, NULL, SIGNALS / 8L);
	syscall(SYS_rt_sigprocmask, (long)SIG_SETMASK, none, NULL, SIGNALS / 8L);
}

static void reset_scheduling(void)
{
	struct sched_param plain = {0};
	unsigned char everywhere[1024]; /* room for 8192 processors; a bare cpu_set_t has room for 1024 */
	memset(everywhere, 0xff, sizeof everywhere);
	sched_setscheduler(0, SCHED_OTHER, &plain);
	setpriority(PRIO_PROCESS, 0, 0);
	syscall(SYS_sched_setaffinity, 0L, sizeof everywhere, everywhere);
	syscall(SYS_ioprio_set, (long)IOPRIO_WHO_PROCESS, 0L, 0L); /* as the scheduling policy has it */
	syscall(SYS_set_mempolicy, 0L, NULL, 0L);
	prctl(PR_SET_TIMERSLACK, TIMER_SLACK_NS, 0L, 0L, 0L);
}

static void write_to(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	ssize_t written = write(fd, text, strlen(text));
	(void)written; /* what cannot be reset stays as it was */
	close(fd);
}

/* What stays through fork and exec besides, whoever set it. */
static void reset_rest(void)
{
	personality(PER_LINUX);
	prctl(PR_SET_THP_DISABLE, 0L, 0L, 0L, 0L);
	prctl(PR_MCE_KILL, (long)PR_MCE_KILL_CLEAR, 0L, 0L, 0L);
	prctl(PR_CAP_AMBIENT, (long)PR_CAP_AMBIENT_CLEAR_ALL, 0L, 0L, 0L);
	prctl(PR_SET_SECUREBITS, (long)SECUREBITS_DEFAULT, 0L, 0L, 0L);
	write_to("/proc/self/oom_score_adj", "0");
	write_to("/proc/self/coredump_filter", "0");
}

/* 0-2 on /dev/null, the socket on 3, nothing else. `sock` is 10 or above: dup2(3, 3) would leave close-on-exec set. */
static bool reset_descriptors(int sock)
{
	if (dup2(sock, 3) < 0)
		return false;
	int null = open("/dev/null", O_RDWR);
	if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(null, 2) < 0)
		return false;
	if (syscall(SYS_close_range, 4U, ~0U, 0U) < 0)
		for (int fd = 4; fd < 65536; fd++)
			close(fd);
	return true;
}

static bool become_root(void)
{
	return syscall(CALL_SETGROUPS, 0L, NULL) == 0 && syscall(CALL_SETRESGID, 0L, 0L, 0L) == 0 &&
	       syscall(CALL_SETRESUID, 0L, 0L, 0L) == 0;
}

static void worker_exec(int sock)
{
	static char *const argv[] = {PYHOME_PYTHON, "-I", "-S", "-B", PYHOME_WORKER, NULL};
	static char *const envp[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", NULL};
	setsid();
	reset_limits();
	reset_scheduling();
	reset_rest();
	umask(077);
	if (!become_root() || chdir("/") < 0 || !reset_descriptors(sock))
		return;
	alarm(PYHOME_ALARM_S); /* survives the exec */
	reset_signals();
	execve(PYHOME_PYTHON, argv, envp);
}

static void child(int sock)
{
	if (silent_fork() == 0)
		worker_exec(sock);
	syscall(SYS_exit_group, 0L);
}

/* The second fork makes the worker a stranger: exec would give it back its SIGCHLD, so it must not be the host's child. */
static bool fork_twice(int sock)
{
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	pid_t pid = silent_fork();
	if (pid == 0)
		child(sock);
	while (pid > 0 && waitpid(pid, NULL, __WALL) < 0 && errno == EINTR)
		;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return pid > 0;
}

/* The shim's end of the socket to a new worker, or -1. Whether the worker lives shows when it speaks. */
int worker_spawn(void)
{
	int ends[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		return -1;
	ends[0] = fd_move_high(ends[0]);
	ends[1] = fd_move_high(ends[1]);
	bool started = ends[0] >= 0 && ends[1] >= 0 && fork_twice(ends[1]);
	if (ends[1] >= 0)
		close(ends[1]);
	if (!started && ends[0] >= 0)
		close(ends[0]);
	return started ? ends[0] : -1;
}
