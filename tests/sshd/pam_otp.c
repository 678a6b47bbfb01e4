/* A second factor: asks for a code, and takes 314159. */
#include <security/pam_ext.h>
#include <security/pam_modules.h>
#include <stdlib.h>
#include <string.h>

int pam_sm_authenticate(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
	char *answer = NULL;
	(void)flags, (void)argc, (void)argv;
	int code = pam_prompt(pamh, PAM_PROMPT_ECHO_OFF, &answer, "Code: ");
	if (code == PAM_SUCCESS)
		code = answer != NULL && strcmp(answer, "314159") == 0 ? PAM_SUCCESS : PAM_AUTH_ERR;
	free(answer);
	return code;
}

int pam_sm_setcred(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
	(void)pamh, (void)flags, (void)argc, (void)argv;
	return PAM_SUCCESS;
}
