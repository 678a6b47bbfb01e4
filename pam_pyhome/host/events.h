/* What the shim itself writes to the system's log: those of ../events.py that have no Python behind them. */
#ifndef PYHOME_EVENTS_H
#define PYHOME_EVENTS_H

#include <pwd.h>
#include <security/pam_modules.h>
#include <syslog.h>

struct event {
	const char *name, *id;
	int priority;
	const char *text;
};

#define NO_WORKER (&(const struct event){"no-worker", "0e262618ff574a1488bca0f394aaf795", LOG_ERR, "a phase of the login had no answer"})
#define NO_LEASE (&(const struct event){"no-lease", "05fb97fe270b4dff826c21332cc363ce", LOG_WARNING, "the session is not counted"})
#define SAME_UID (&(const struct event){"same-uid", "6e8f5fa4483e4865bb45df40b8b4a508", LOG_ERR, "another user with the same uid has their home open"})
#define KEYS_NOT_GIVEN (&(const struct event){"keys-not-given", "4f334db90e8842c5b5f53c5ca206c675", LOG_WARNING, "a key was not put into a keyring"})
#define SETTING_IGNORED (&(const struct event){"setting-ignored", "a126b65e1c4b4dab8502c3740bf0a460", LOG_WARNING, "ignored a setting"})
#define NO_SSHD_ANSWER (&(const struct event){"no-sshd-answer", "5c3f959da2db4b1fa52151fa1e092a51", LOG_WARNING, "sshd's methods are not known"})
#define DECIDED (&(const struct event){"decided", "c165f8069be1450c94075a1c654cc312", LOG_DEBUG, "what the module does"})

/* `format` says why. `pw`: whose home it is about, as far as that is known; NULL says no more than PAM_USER. Keeps errno. */
void record(pam_handle_t *pamh, const struct passwd *pw, const struct event *event, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

#endif
