/* What stays in the PAM handle between the phases: locked, undumpable, wiped memory. */
#include "pam_pyhome.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct value {
	size_t size;
	unsigned char bytes[];
};

/* Zeroed pages that are neither swapped out nor dumped. Forked copies keep them: the session may be opened in a child. */
void *secret_new(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return NULL;
	madvise(memory, size, MADV_DONTDUMP);
	(void)!mlock(memory, size); /* fails only without CAP_IPC_LOCK; then the pages are merely unlocked */
	return memory;
}

void secret_free(void *memory, size_t size)
{
	if (memory == NULL)
		return;
	explicit_bzero(memory, size);
	munmap(memory, size);
}

/* `pyhome.<what>.<user>`, to be freed. The user is part of the name because sudo changes the user of a handle. */
char *data_name(const char *what, const char *user)
{
	char *name = NULL;
	return asprintf(&name, "pyhome.%s.%s", what, user) < 0 ? NULL : name;
}

/* Only memory is freed here: this also runs in forked copies of the process. */
static void value_cleanup(pam_handle_t *pamh, void *data, int status)
{
	(void)pamh;
	(void)status;
	struct value *value = data;
	if (value != NULL)
		secret_free(value, sizeof *value + value->size);
}

/* Keeps a copy of `value`, replacing (and wiping) an older one; NULL only forgets. */
int data_set(pam_handle_t *pamh, const char *name, const void *value, size_t size)
{
	if (value == NULL)
		return pam_set_data(pamh, name, NULL, NULL);
	struct value *copy = secret_new(sizeof *copy + size);
	if (copy == NULL)
		return PAM_BUF_ERR;
	copy->size = size;
	memcpy(copy->bytes, value, size);
	int code = pam_set_data(pamh, name, copy, value_cleanup);
	if (code != PAM_SUCCESS)
		secret_free(copy, sizeof *copy + size);
	return code;
}

/* Finds what data_set kept; `*value` is NULL if there is nothing. */
int data_get(pam_handle_t *pamh, const char *name, const void **value, size_t *size)
{
	const void *data = NULL;
	int code = pam_get_data(pamh, name, &data);
	const struct value *found = code == PAM_SUCCESS ? data : NULL;
	*value = found != NULL ? found->bytes : NULL;
	*size = found != NULL ? found->size : 0;
	return code == PAM_NO_MODULE_DATA ? PAM_SUCCESS : code;
}

/* Did the auth phase of this handle leave the keys of a home? */
bool has_opened(const struct call *call)
{
	const void *value = NULL;
	size_t size = 0;
	char *name = data_name("opened", call->pw.pw_name);
	bool found = name != NULL && data_get(call->pamh, name, &value, &size) == PAM_SUCCESS && value != NULL;
	free(name);
	return found;
}

void answer_remember(struct call *call, int code)
{
	char *name = data_name("auth", call->user);
	if (name != NULL)
		data_set(call->pamh, name, &code, sizeof code);
	free(name);
}

/* What auth answered for this user in this handle. */
int answer_recall(struct call *call, int otherwise)
{
	const void *value = NULL;
	size_t size = 0;
	char *name = data_name("auth", call->user);
	if (name != NULL)
		data_get(call->pamh, name, &value, &size);
	free(name);
	if (value != NULL && size == sizeof otherwise)
		memcpy(&otherwise, value, size);
	return otherwise;
}
