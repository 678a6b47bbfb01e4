/* Stands in for the sshd that listens: with -T, notes its arguments and says what /run/dump says; else it runs the rest of them. */
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	if (argc < 2 || strcmp(argv[1], "-T") != 0) {
		int status = 0;
		if (fork() == 0)
			execv(argv[1], argv + 1);
		wait(&status);
		return WEXITSTATUS(status);
	}
	FILE *asked = fopen("/run/asked", "w"), *dump = fopen("/run/dump", "r");
	for (int i = 0; asked != NULL && i < argc; i++)
		fprintf(asked, "%s\n", argv[i]);
	for (int byte; dump != NULL && (byte = getc(dump)) != EOF;)
		putchar(byte);
	return 0;
}
