/* What the two halves of the test application share. */
#ifndef PAMAPP_H
#define PAMAPP_H

extern int out_fd, in_fd, quiet;

__attribute__((format(printf, 1, 2))) void say(const char *format, ...);
long rss_kib(void);
int count_fds(void);
void with_process(const char *step);

#endif
