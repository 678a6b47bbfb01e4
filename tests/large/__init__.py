"""A home of many files, encrypted and decrypted, killed all the way. It takes long, so it is not part of `make test`."""
