/* The CONVERSE verb: the worker's questions to the application, and its answers. */
#include "pam_pyhome.h"

#include <stdlib.h>
#include <string.h>

struct talk {
	struct pam_message messages[PAM_MAX_NUM_MSG];
	const struct pam_message *asked[PAM_MAX_NUM_MSG]; /* without those that PAM_SILENT keeps back */
	bool kept_back[PAM_MAX_NUM_MSG];
	int count, asking;
};

static bool is_statement(int style)
{
	return style == PAM_TEXT_INFO || style == PAM_ERROR_MSG;
}

static bool is_question(int style)
{
	return style == PAM_PROMPT_ECHO_OFF || style == PAM_PROMPT_ECHO_ON;
}

/* PAM_SUCCESS, PAM_CONV_ERR for what no conversation can carry, or -1 for a body that does not add up. */
static int talk_read(struct frame *in, bool silent, struct talk *talk)
{
	int count = get_u16(in), code = PAM_SUCCESS;
	for (int i = 0; i < count && !in->bad; i++) {
		int style = (int)get_u32(in);
		const char *text = get_string(in);
		if (text == NULL)
			return -1;
		if (i >= PAM_MAX_NUM_MSG || (!is_statement(style) && !is_question(style))) {
			code = PAM_CONV_ERR;
			continue;
		}
		talk->messages[i] = (struct pam_message){.msg_style = style, .msg = text};
		talk->kept_back[i] = silent && is_statement(style);
		if (!talk->kept_back[i])
			talk->asked[talk->asking++] = &talk->messages[i];
	}
	talk->count = count;
	return got_all(in) ? code : -1;
}

/* Answers are the application's memory, secrets as a rule. */
static void responses_free(struct pam_response *responses, int count)
{
	for (int i = 0; responses != NULL && i < count; i++) {
		if (responses[i].resp != NULL)
			explicit_bzero(responses[i].resp, strlen(responses[i].resp));
		free(responses[i].resp);
	}
	free(responses);
}

static int responses_put(struct frame *out, const struct talk *talk, const struct pam_response *responses)
{
	for (int i = 0, next = 0; i < talk->count; i++) {
		const char *text = "";
		if (!talk->kept_back[i])
			text = responses != NULL ? responses[next++].resp : NULL;
		if (text != NULL && strlen(text) > PAM_MAX_RESP_SIZE)
			return PAM_BUF_ERR;
		put_string(out, text);
	}
	return PAM_SUCCESS;
}

/* The PAM status, or -1 for a body that does not add up. */
int converse(struct call *call, struct frame *in, struct frame *out)
{
	struct talk talk = {.count = 0};
	const void *item = NULL;
	struct pam_response *responses = NULL;
	int code = talk_read(in, ((unsigned int)call->flags & PAM_SILENT) != 0, &talk);
	if (code < 0)
		return -1;
	if (code == PAM_SUCCESS && talk.asking > 0) {
		code = pam_get_item(call->pamh, PAM_CONV, &item);
		const struct pam_conv *conv = item;
		if (code == PAM_SUCCESS && (conv == NULL || conv->conv == NULL))
			code = PAM_CONV_ERR;
		if (code == PAM_SUCCESS)
			code = conv->conv(talk.asking, talk.asked, &responses, conv->appdata_ptr);
		if (code < 0 || code >= _PAM_RETURN_VALUES)
			code = PAM_CONV_ERR;
		if (code != PAM_SUCCESS)
			responses = NULL; /* by the interface there are none then; some applications leave the pointer dangling */
	}
	if (code == PAM_SUCCESS)
		code = responses_put(out, &talk, responses);
	responses_free(responses, talk.asking);
	return code;
}
