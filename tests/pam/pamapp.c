/*
 * A PAM application for the tests: pamapp SERVICE USER STEP...
 *
 * Steps run from left to right and print one line each to the standard output (which survives `close-std`).
 *   auth setcred account open close chauthtok   a phase; prints its name and PAM code
 *   delcred                     pam_setcred(PAM_DELETE_CRED)
 *   end                         pam_end; the next phase starts a new handle
 *   flags=N                     PAM flags of the phases that follow
 *   user=NAME  service=NAME     set PAM_USER; the service of the next handle
 *   item=N:TEXT  getitem=N      set or print an item
 *   getenv=NAME                 print a PAM variable
 *   answer=TEXT  answerx=HEX    queue an answer for the conversation, which otherwise fails
 *   null-answers                the conversation succeeds without responses
 *   slow-answers=MS  conv-code=N   the conversation takes so long; it does nothing and returns N
 *   child{ ... }                fork; the child runs the steps, ends its copy of the handle silently and exits
 *   threads=N                   the rest runs in N threads, each with a handle of its own
 *   repeat=N                    the rest runs N times, each with a handle of its own; growth of memory and descriptors is printed
 *   ignore-sigchld close-std close-high   closes 0-2; closes what lies at 10 and above
 *   count-sigchld  sigchld      count SIGCHLD; print how many came
 *   waitany                     print what waitpid(-1) finds
 *   fork-own  reap-own          a child of the application, and whether waitpid(-1) reaps exactly that
 *   hostile=DIR                 what a caller of a setuid program can leave behind
 *   no-files                    no file may grow: writing to one is death by SIGXFSZ
 *   ruid=N                      real uid N, effective uid 0, as in su
 *   euid=N                      effective uid N
 *   join                        join a new session keyring
 *   sh=USER:COMMAND             run a command as USER, as login does
 *   fds  fd=N  uids             how many descriptors are open; whether this one is; real, effective, saved and file-system ids
 *   pid  wait  sleep=MS         print the pid; wait for a line on standard input
 */
#include "pamapp.h"

#include <pthread.h>
#include <security/pam_appl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct app {
	const char *service, *user;
	pam_handle_t *pamh;
	char *answers[64];
	int first, last, flags, status;
	int null_answers, slow_ms, conv_code;
};

int out_fd = 1, in_fd = 0, quiet;

void say(const char *format, ...)
{
	char line[2048];
	va_list args;
	va_start(args, format);
	int size = vsnprintf(line, sizeof line - 1, format, args);
	va_end(args);
	line[size++] = '\n';
	if (!quiet && write(out_fd, line, (size_t)size) < 0)
		_exit(97);
}

static int conversation(int count, const struct pam_message **asked, struct pam_response **responses, void *data)
{
	struct app *app = data;
	usleep((useconds_t)app->slow_ms * 1000);
	if (app->conv_code != 0)
		return app->conv_code;
	if (app->null_answers) {
		*responses = NULL;
		return PAM_SUCCESS;
	}
	struct pam_response *made = calloc((size_t)count, sizeof *made);
	for (int i = 0; i < count; i++) {
		say("message %d %s", asked[i]->msg_style, asked[i]->msg);
		if (asked[i]->msg_style != PAM_PROMPT_ECHO_OFF && asked[i]->msg_style != PAM_PROMPT_ECHO_ON)
			continue;
		if (app->first == app->last) {
			for (int j = 0; j < i; j++)
				free(made[j].resp);
			free(made);
			return PAM_CONV_ERR;
		}
		made[i].resp = strdup(app->answers[app->first++]);
	}
	*responses = made;
	return PAM_SUCCESS;
}

static void start(struct app *app)
{
	struct pam_conv conv = {conversation, app};
	if (app->pamh == NULL && pam_start(app->service, app->user, &conv, &app->pamh) != PAM_SUCCESS)
		_exit(98);
}

static void end(struct app *app, int flags)
{
	if (app->pamh != NULL)
		pam_end(app->pamh, app->status | flags);
	app->pamh = NULL;
}

static void add_answer_hex(struct app *app, const char *hex)
{
	size_t size = strlen(hex) / 2;
	char *bytes = calloc(1, size + 1);
	for (size_t i = 0; i < size; i++)
		sscanf(hex + 2 * i, "%2hhx", (unsigned char *)&bytes[i]);
	app->answers[app->last++] = bytes;
}

static int phase(struct app *app, const char *step)
{
	static const struct {
		const char *name;
		int (*call)(pam_handle_t *, int);
		int flags;
	} phases[] = {
		{"auth", pam_authenticate, 0},	    {"setcred", pam_setcred, PAM_ESTABLISH_CRED},
		{"account", pam_acct_mgmt, 0},	    {"open", pam_open_session, 0},
		{"close", pam_close_session, 0},    {"chauthtok", pam_chauthtok, 0},
		{"delcred", pam_setcred, PAM_DELETE_CRED},
	};
	for (size_t i = 0; i < sizeof phases / sizeof *phases; i++)
		if (strcmp(step, phases[i].name) == 0) {
			start(app);
			app->status = phases[i].call(app->pamh, phases[i].flags | app->flags);
			say("%s %d", step, app->status);
			return 1;
		}
	return 0;
}

static int with_handle(struct app *app, const char *step)
{
	const void *value = NULL;
	if (strncmp(step, "user=", 5) == 0) {
		start(app);
		pam_set_item(app->pamh, PAM_USER, step + 5);
	} else if (strncmp(step, "item=", 5) == 0) {
		start(app);
		say("item %d", pam_set_item(app->pamh, atoi(step + 5), strchr(step, ':') + 1));
	} else if (strncmp(step, "getitem=", 8) == 0) {
		start(app);
		pam_get_item(app->pamh, atoi(step + 8), &value);
		say("getitem %s", value != NULL ? (const char *)value : "(null)");
	} else if (strncmp(step, "getenv=", 7) == 0) {
		start(app);
		const char *text = pam_getenv(app->pamh, step + 7);
		say("getenv %s", text != NULL ? text : "(null)");
	} else if (strncmp(step, "service=", 8) == 0) {
		app->service = step + 8;
	} else if (strcmp(step, "end") == 0) {
		end(app, 0);
	} else {
		return phase(app, step);
	}
	return 1;
}

static void run(struct app *app, char **steps);

/* Runs up to the closing brace in a child and returns the step behind it. */
static char **run_child(struct app *app, char **steps)
{
	char **behind = steps;
	while (*behind != NULL && strcmp(*behind, "}") != 0)
		behind++;
	fflush(NULL);
	pid_t pid = fork();
	if (pid == 0) {
		*behind = NULL;
		run(app, steps);
		end(app, PAM_DATA_SILENT);
		exit(0);
	}
	int status = 0;
	waitpid(pid, &status, 0);
	say("child %d", status);
	return *behind == NULL ? behind : behind + 1;
}

struct thread {
	struct app app;
	char **steps;
	pthread_t id;
};

static void *thread_main(void *data)
{
	struct thread *thread = data;
	run(&thread->app, thread->steps);
	end(&thread->app, 0);
	return NULL;
}

static void run_threads(const struct app *app, int count, char **steps)
{
	struct thread *threads = calloc((size_t)count, sizeof *threads);
	for (int i = 0; i < count; i++) {
		threads[i] = (struct thread){.app = *app, .steps = steps};
		threads[i].app.pamh = NULL;
		pthread_create(&threads[i].id, NULL, thread_main, &threads[i]);
	}
	for (int i = 0; i < count; i++)
		pthread_join(threads[i].id, NULL);
	free(threads);
}

static void run_repeatedly(const struct app *app, int count, char **steps)
{
	long before = 0;
	int fds = 0;
	for (int i = 0; i < count; i++) {
		struct app fresh = *app;
		fresh.pamh = NULL;
		if (i == count / 10) {
			before = rss_kib();
			fds = count_fds();
		}
		quiet = i > 0;
		run(&fresh, steps);
		end(&fresh, 0);
	}
	quiet = 0;
	say("growth %ld KiB %d fds", rss_kib() - before, count_fds() - fds);
}

static void run(struct app *app, char **steps)
{
	while (*steps != NULL) {
		char *step = *steps++;
		if (strcmp(step, "child{") == 0)
			steps = run_child(app, steps);
		else if (strncmp(step, "threads=", 8) == 0)
			return run_threads(app, atoi(step + 8), steps);
		else if (strncmp(step, "repeat=", 7) == 0)
			return run_repeatedly(app, atoi(step + 7), steps);
		else if (strncmp(step, "flags=", 6) == 0)
			app->flags = atoi(step + 6);
		else if (strncmp(step, "answer=", 7) == 0)
			app->answers[app->last++] = strdup(step + 7);
		else if (strncmp(step, "answerx=", 8) == 0)
			add_answer_hex(app, step + 8);
		else if (strcmp(step, "null-answers") == 0)
			app->null_answers = 1;
		else if (strncmp(step, "conv-code=", 10) == 0)
			app->conv_code = atoi(step + 10);
		else if (strncmp(step, "slow-answers=", 13) == 0)
			app->slow_ms = atoi(step + 13);
		else if (!with_handle(app, step))
			with_process(step);
	}
}

int main(int argc, char **argv)
{
	struct app app = {.service = argv[1], .user = argv[2]};
	if (argc < 4)
		return 2;
	run(&app, argv + 3);
	end(&app, 0);
	for (int i = 0; i < app.last; i++)
		free(app.answers[i]);
	return 0;
}
