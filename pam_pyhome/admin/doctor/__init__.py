"""What stands between a user and an open home, looked at in the order of a login; nothing is changed."""
