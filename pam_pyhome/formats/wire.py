"""The protocol between pam_pyhome.so and its worker: frames on a stream socket, one verb and one answer at a time.

All integers are little-endian. A *frame* is ``u32 length | u8 kind | body``; ``length`` counts kind and body and is 1 to 65536.
A *blob* is ``u32 size | bytes``; size 0xFFFFFFFF stands for NULL and is followed by nothing. Strings are blobs without NUL.

The shim speaks first:

====  ========  ====================================================================================================
kind  name      body
====  ========  ====================================================================================================
1     START     u8 version (1), u8 phase, i32 PAM flags, u32 uid, u32 gid, u32 pid of the PAM process,
                blob user, blob service, blob home directory, u16 argc, argc blobs (the tokens)
2     ANSWER    i32 PAM status, then what the verb says below (present only if the status is PAM_SUCCESS)
====  ========  ====================================================================================================

Phases: 1 authenticate, 2 setcred, 3 acct_mgmt, 4 open_session, 5 close_session, 6 chauthtok.

The worker sends verbs, and reads the ANSWER to each before it sends the next; REPLY ends the exchange and has no answer:

====  ===============  =============================================  ===================
kind  name             body                                           answer
====  ===============  =============================================  ===================
16    GET_ITEM         u32 item                                       blob (NULL: unset)
17    SET_ITEM         u32 item, blob
18    PUT_ENV          blob ``NAME=value`` or ``NAME``
19    GET_ENV          blob name                                      blob (NULL: unset)
20    CONVERSE         u16 count, count times (u32 style, blob text)  count blobs
21    FAIL_DELAY       u32 microseconds
22    SET_DATA         blob name, blob value (NULL: forget it)
23    GET_DATA         blob name                                      blob (NULL: unset)
24    ADD_SESSION_KEY  blob description, blob payload, u32 perm       i32 serial
31    REPLY            i32 PAM code of the phase
====  ===============  =============================================  ===================

GET_ITEM and SET_ITEM know the string items only (PAM_SERVICE 1, PAM_USER 2, PAM_TTY 3, PAM_RHOST 4, PAM_AUTHTOK 6, PAM_OLDAUTHTOK 7,
PAM_RUSER 8, PAM_USER_PROMPT 9, PAM_XDISPLAY 11, PAM_AUTHTOK_TYPE 13); anything else is answered PAM_BAD_ITEM. An unknown verb, a frame that is too
long or a body that does not add up ends the exchange: the shim answers the phase as if the worker had died.
"""
