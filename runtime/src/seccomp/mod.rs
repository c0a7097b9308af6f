//! Seccomp filters: from `linux.seccomp` to a cBPF program.
