"""Why a home is not changed as was asked."""

from __future__ import annotations

NO_OWN_PASSPHRASE = "whether an fscrypt home follows the login password is decided by its protectors, which stay as they are"
NO_COSTS = "the costs of an eCryptfs password are fixed"
NOT_FOLLOWING = "the home has a passphrase of its own, whose costs are not ours to change"
WRONG_LOGIN = "this is not the login password"
NO_CONF = "there is no /etc/fscrypt.conf that would say what a password is to cost"
