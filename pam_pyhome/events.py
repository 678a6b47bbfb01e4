"""What is written to the system's log: the events, each with the MESSAGE_ID by which journalctl finds its records.

`docs/journal.md` says what each of them means. An identifier is for ever: one that has been released is never given to another
event. The shim has some of them in `host/events.h`.
"""

from __future__ import annotations

from pam_pyhome.record import Record

# The numbers of syslog(3).
ERROR, WARNING, NOTICE, INFO, DEBUG = 3, 4, 5, 6, 7


class Event(Record):
    """One kind of event: what it is for programs, its MESSAGE_ID, its priority, and what it is for people."""

    name: str
    id: str
    priority: int
    text: str


# Homes open and stay locked
UNLOCKED = Event("unlocked", "f811df1f7e634086bb13408e5fd3ef91", NOTICE, "opened the home")
STARTS_LOCKED = Event("starts-locked", "c74c92518ae045c28a863697bf7e2f05", NOTICE, "the session starts with the home locked")
NOT_UNLOCKED = Event("not-unlocked", "eff90f9e7b9e4524a79af0f7b973a6d5", ERROR, "the home was not opened")
UNUSABLE = Event("unusable", "4a848cefa319471c912b05e7323dd733", ERROR, "the home is not usable")
ABSENT = Event("absent", "70a4f30f0bb147f499a3e3cf5f849555", ERROR, "the home is not there")
OTHERS_LOCKED = Event("others-locked", "111a4dbaa5d7479fa7d27291ceab31a8", WARNING, "a directory besides the home stays locked")
WRONG_PASSWORD = Event("wrong-password", "b9e067feb4364af585ad80af30a85eb8", NOTICE, "a wrong password was given for the home")
OUT_OF_STEP = Event("out-of-step", "a31c2ce73b6845a7a085dad2dfc8ef25", WARNING, "the login password does not open the home")
RECOVERY_KEY_USED = Event("recovery-key-used", "1331bc574b1c4421b6cda9d0d9e74a0c", WARNING, "a recovery key was used for the home")
JOB_REFUSED = Event("job-refused", "643ac670cf044812b4a9571d764693f0", NOTICE, "refused a job because the home is locked")

# Homes are locked and stay open
LOCKED = Event("locked", "127759d82f5d4296a2f51d11b6e7d156", NOTICE, "locked the home")
STAYS_OPEN = Event("stays-open", "9d0ffdfb84384c318e63f5f339c743b1", NOTICE, "the home stays open while it is busy")
PARTLY_LOCKED = Event("partly-locked", "152150e42e2046839296162558e7036c", WARNING, "the home is only partly locked")
LOCK_UNCERTAIN = Event("lock-uncertain", "dcdd717c710c4e9b90881ff9dddbb144", ERROR, "it is not certain that the home is locked")
NOT_WATCHED = Event("not-watched", "114a8e21b46d48ad844a5c169e91572e", WARNING, "pyhomed does not watch the home")

# Passwords, key files and copies
PASSWORD_CHANGED = Event("password-changed", "ca446e0bdc964fac8c092dd64ed5da35", NOTICE, "the home opens with the new password")
PASSWORD_NOT_CHANGED = Event("password-not-changed", "73c395106fe5435c9b152b8f172331fe", ERROR, "the home keeps its password")
PASSWORD_RESET = Event("password-reset", "e29f49c7f377407ca9d657cdbd4e89d9", WARNING, "the home keeps the old password only")
KEY_FILE_RENEWED = Event("key-file-renewed", "9017725f5f1543558d33312fd843ac19", NOTICE, "the key file was renewed")
KEY_FILE_RESTORED = Event("key-file-restored", "d06cf57303d344a29ddfddc9229b30b4", WARNING, "a key file was put back from its copy")
KEY_FILE_AS_IT_WAS = Event("key-file-as-it-was", "d788c13e6f36414bb954f893d3bf3c95", WARNING, "the key file stays as it is")
KEY_FILE_APPROVED = Event("key-file-approved", "54d88dbcbbd94219a7c57d11e57814be", INFO, "a key file is approved")
COPY_KEPT = Event("copy-kept", "b4e31e2fa9d646a28b0dfc5440358df4", INFO, "a copy of the key files is kept")
SECOND_PASSWORD = Event("second-password", "54128d3af41a437e9520e2f2b3d250e5", NOTICE, "a second password opens the home")
RECOVERY_KEY_MADE = Event("recovery-key-made", "f1b82dbf78ec4c5e8a1b1aa1d63c01e2", NOTICE, "the home has a new recovery key")
SETTINGS_CHANGED = Event("settings-changed", "bd6cc08b7cf345ed8ce73dcc838cad67", NOTICE, "changed how the home opens and closes")

# What root does with homes
CREATED = Event("created", "5f313517ae76428c86819931d7634b04", NOTICE, "made an encrypted home")
CONVERSION_BEGUN = Event("conversion-begun", "521b27f29e1043598162b0f70cc94afe", NOTICE, "began to convert the home")
CONVERSION_DONE = Event("conversion-done", "d672007de310478e9dfd9dc9500a3532", NOTICE, "converted the home")
CONVERSION_STOPPED = Event("conversion-stopped", "24a1c2b05e0b4bd186049067fbbe8e4c", WARNING, "the conversion of the home stopped")
CONVERSION_TAKEN_BACK = Event("conversion-taken-back", "3bedee8ac43c43ce8f3c1f3e7ddb1c6e", NOTICE, "took back the conversion")
CONVERSION_CONFIRMED = Event("conversion-confirmed", "d6c7f40432c54628912aab9509a75219", NOTICE, "removed what was converted")
REMOVAL_BEGUN = Event("removal-begun", "2ee4ae497885433a8bfa5a4c5de21941", NOTICE, "began to remove the home")
REMOVED = Event("removed", "92303f39a7114872a50e0eb941b1f91a", NOTICE, "removed the home")
RECOVERED = Event("recovered", "7f64ba8c62134444ba9088853a66cfd8", NOTICE, "opened a home of another installation")

# What root does with the machine
SETUP_CHANGED = Event("setup-changed", "e2d3d9f67d5747c0a41ef34624cf9302", NOTICE, "changed the PAM files and units")
SHELL_CHANGED = Event("shell-changed", "ba8186d4b0014102833c6af5231551b6", NOTICE, "changed the login shell")
SHELL_NOT_KEPT = Event("shell-not-kept", "3b2b9db529234486a270d95e6418b7a5", WARNING, "the login shell is not pyhome-shell")
SSHD_CHANGED = Event("sshd-changed", "b2f21e2ac9e84a1696cffacd6a747f6f", NOTICE, "changed the layout for sshd")
KEYS_CARRIED = Event("keys-carried", "20c227ab1dcb4a79af2d9965956dfaee", NOTICE, "the layout for sshd has the keys as they are now")
KEYS_NOT_CARRIED = Event("keys-not-carried", "730c60ce65f741b8ad00d213395c61a5", WARNING, "not all SSH keys were carried to sshd")
TRUST_CHANGED = Event("trust-changed", "594d00efd7a34b599c382d52148b6ee7", NOTICE, "changed which file systems are given keys")

# pyhome itself
NO_WORKER = Event("no-worker", "0e262618ff574a1488bca0f394aaf795", ERROR, "a phase of the login had no answer")
NO_LEASE = Event("no-lease", "05fb97fe270b4dff826c21332cc363ce", WARNING, "the session is not counted")
SAME_UID = Event("same-uid", "6e8f5fa4483e4865bb45df40b8b4a508", ERROR, "another user with the same uid has their home open")
KEYS_NOT_GIVEN = Event("keys-not-given", "4f334db90e8842c5b5f53c5ca206c675", WARNING, "a key was not put into a keyring")
SETTING_IGNORED = Event("setting-ignored", "a126b65e1c4b4dab8502c3740bf0a460", WARNING, "ignored a setting")
NO_SSHD_ANSWER = Event("no-sshd-answer", "5c3f959da2db4b1fa52151fa1e092a51", WARNING, "sshd's methods are not known")
GUEST_REFUSED = Event("guest-refused", "23e3d34a4d6d486eb22d40cbbc1aebac", WARNING, "refused or lost a conversation")
DAEMON_TROUBLE = Event("daemon-trouble", "77eb40b0508c4596a85caa52258893af", ERROR, "pyhomed could not do its work")
NOT_NOTED = Event("not-noted", "522b8c9f05cc4c25be1df995ab963d0f", WARNING, "something could not be noted or found out")
DECIDED = Event("decided", "c165f8069be1450c94075a1c654cc312", DEBUG, "what the module does")
