//! Raw Linux system calls that rustix lacks.
