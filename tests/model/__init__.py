"""The model of lock and unlock: what pyhome says of a home, beside what the kernel says, after random things have happened."""
