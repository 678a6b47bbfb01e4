"""`pyhome encrypt`, `decrypt` and `confirm`: what they copy, what they refuse, and what is left when they are killed."""
