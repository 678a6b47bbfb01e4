/* The module that libpam loads in relay.c: some functions of libpam may be called from modules only. */
#include <security/pam_modules.h>

int in_module(pam_handle_t *pamh);

__attribute__((visibility("default"))) int pam_sm_authenticate(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
	(void)flags;
	(void)argc;
	(void)argv;
	return in_module(pamh);
}
