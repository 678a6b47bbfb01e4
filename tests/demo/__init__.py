"""`make demo`: an encrypted home on the machine at hand, which stays as it is."""
