"""The PAM module in real PAM applications, in a machine of its own: private mounts, processes, users and PAM files."""
