"""`pyhome create`: what it makes, what it refuses, and what is left when it is killed."""
