//! The *calls* of the kernel by what the host needs them for: which are allowed, and which only an
//! intruder makes. Those that are allowed with some arguments only are in `syscalls`.

use libc::*; // the numbers of system calls

/// Files of guests, modules, the cache, core dumps and the log. Landlock says which. Nothing here
/// changes an owner, a mode or an attribute, and nothing makes a link or a device.
#[rustfmt::skip] // by what they do
const FILES: &[c_long] = &[
    SYS_openat, SYS_openat2, SYS_close, SYS_fcntl, SYS_statx, SYS_newfstatat, SYS_fstat, SYS_statfs,
    SYS_fstatfs, SYS_faccessat, SYS_faccessat2, SYS_readlinkat, SYS_getdents64, SYS_getcwd,
    SYS_read, SYS_readv, SYS_pread64, SYS_preadv, SYS_preadv2, SYS_lseek, SYS_fadvise64,
    SYS_write, SYS_writev, SYS_pwrite64, SYS_pwritev, SYS_ftruncate, SYS_fsync, SYS_fdatasync,
    SYS_mkdirat, SYS_unlinkat, SYS_renameat2, SYS_utimensat,
];

/// Memory of the host and of guests; compiled code becomes executable by `mprotect`. The pool of
/// memories has their first contents in `memfd`s. `membarrier` makes new code visible on ARM.
#[rustfmt::skip]
const MEMORY: &[c_long] = &[
    SYS_mmap, SYS_munmap, SYS_mprotect, SYS_mremap, SYS_madvise, SYS_brk, SYS_memfd_create,
    SYS_membarrier,
];

/// Threads of the runtime, of blocking calls, of the compiler. For `clone`, see `syscalls`.
#[rustfmt::skip]
const THREADS: &[c_long] = &[
    SYS_futex, SYS_set_robust_list, SYS_rseq, SYS_gettid, SYS_exit, SYS_sched_yield,
    SYS_sched_getaffinity, SYS_getcpu,
];

/// Handlers of signals: traps of guests are some, and so is the order to stop. `restart_syscall` is
/// the kernel's own, after a debugger has looked.
#[rustfmt::skip]
const SIGNALS: &[c_long] = &[
    SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_sigaltstack, SYS_restart_syscall,
];

/// Waiting: the runtime, the engine's clock, the watch for changed modules, the C library's
/// resolver.
#[rustfmt::skip]
const WAITING: &[c_long] = &[
    SYS_epoll_create1, SYS_epoll_ctl, SYS_epoll_pwait, SYS_epoll_pwait2, SYS_eventfd2, SYS_ppoll,
    SYS_clock_gettime, SYS_clock_getres, SYS_clock_nanosleep, SYS_nanosleep, SYS_gettimeofday,
    SYS_inotify_init1, SYS_inotify_add_watch, SYS_inotify_rm_watch,
];

/// Connections that come in. A port that was bound before may still begin to listen.
#[rustfmt::skip]
const CONNECTIONS: &[c_long] = &[
    SYS_listen, SYS_accept4, SYS_recvfrom, SYS_recvmsg, SYS_getsockname, SYS_getpeername,
    SYS_getsockopt, SYS_setsockopt,
];

/// What the host asks about itself, and its end.
#[rustfmt::skip]
const ITSELF: &[c_long] = &[
    SYS_getpid, SYS_getuid, SYS_geteuid, SYS_getgid, SYS_getegid, SYS_getrusage, SYS_getrandom,
    SYS_uname, SYS_sysinfo, SYS_exit_group,
];

/// Older names of calls above, which ARM never had: C libraries and `rustix` use them on Intel.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const OLDER: &[c_long] = &[
    SYS_open, SYS_stat, SYS_lstat, SYS_access, SYS_readlink, SYS_mkdir, SYS_unlink, SYS_rename,
    SYS_renameat, SYS_epoll_wait, SYS_poll, SYS_time,
];
#[cfg(target_arch = "aarch64")]
const OLDER: &[c_long] = &[RENAMEAT];

/// The crate `libc` has it for some C libraries only.
#[cfg(target_arch = "aarch64")]
const RENAMEAT: c_long = 38;

/// musl signals its own threads without naming the process; Landlock lets no signal out. And a
/// thread of musl's says at its end that nobody waits for it.
#[cfg(target_env = "musl")]
const OF_THE_C_LIBRARY: &[c_long] = &[SYS_tkill, SYS_set_tid_address];
#[cfg(not(target_env = "musl"))]
const OF_THE_C_LIBRARY: &[c_long] = &[];

/// Calls that only an intruder makes: no library of the host's has a use for them, even as a guess.
/// They start programs, reach into other processes, change the kernel or what it shows.
#[rustfmt::skip]
pub(super) const OF_INTRUDERS: &[c_long] = &[
    SYS_execve, SYS_execveat,
    SYS_ptrace, SYS_process_vm_readv, SYS_process_vm_writev, SYS_pidfd_getfd, SYS_kcmp,
    SYS_bpf, SYS_perf_event_open, SYS_userfaultfd,
    SYS_init_module, SYS_finit_module, SYS_delete_module, SYS_kexec_load, SYS_reboot,
    SYS_mount, SYS_umount2, SYS_pivot_root, SYS_chroot, SYS_move_mount, SYS_open_tree, SYS_fsopen,
    SYS_fsmount, SYS_setns, SYS_unshare, SYS_open_by_handle_at,
    SYS_keyctl, SYS_add_key, SYS_request_key,
];

/// Calls with conditions that requests make: resetting a guest's memory, and answers.
pub(super) const FREQUENT: &[c_long] = &[SYS_ioctl, SYS_sendto, SYS_sendmsg];

/// Calls with a number above this are newer than the list.
pub(super) const NEWEST: c_long = SYS_mseal;

/// All calls that are allowed, whatever their arguments are.
pub(super) fn free() -> impl Iterator<Item = c_long> {
    let lists = [
        FILES,
        MEMORY,
        THREADS,
        SIGNALS,
        WAITING,
        CONNECTIONS,
        ITSELF,
        OLDER,
        OF_THE_C_LIBRARY,
    ];
    lists.into_iter().flatten().copied()
}
