/* Made from pyrunc/program/calls.py. */
#define OP_IF_OK 0
#define OP_IF_FAILED 1
#define OP_STORE 2
#define OP_EXPECT 3
#define OP_CLONE 4
#define OP_SYNC 5
#define OP_WAIT 6
#define OP_HOOK 7
#define OP_FAIL 8
#define OP_EXIT 9
#define OP_LOAD 10
#define OP_REFUSE 11
#define OP_COPY_UP 12
#define OP_HOOK_STREAMS 13
#define OP_NOTIFY 14
#define FIRST_CALL 64
#define CALL_COUNT 58
static const short call_numbers[] = {
  __NR_capset,
  __NR_chdir,
  __NR_chroot,
  __NR_close,
  __NR_close_range,
  __NR_dup3,
  __NR_execve,
  __NR_faccessat2,
  __NR_fchdir,
  __NR_fchmod,
  __NR_fchmodat,
  __NR_fchown,
  __NR_fchownat,
  __NR_fsconfig,
  __NR_fsmount,
  __NR_fsopen,
  __NR_fstatfs,
  __NR_getcwd,
  __NR_ioctl,
  __NR_keyctl,
  __NR_mkdirat,
  __NR_mknodat,
  __NR_mount,
  __NR_mount_setattr,
  __NR_move_mount,
  __NR_open_tree,
  __NR_openat,
  __NR_openat2,
  __NR_personality,
  __NR_pivot_root,
  __NR_prctl,
  __NR_prlimit64,
  __NR_read,
  __NR_seccomp,
  __NR_sendmsg,
  __NR_setdomainname,
  __NR_setgroups,
  __NR_sethostname,
  __NR_setns,
  __NR_setresgid,
  __NR_setresuid,
  __NR_setsid,
  __NR_socket,
  __NR_statx,
  __NR_symlinkat,
  __NR_umask,
  __NR_umount2,
  __NR_unlinkat,
  __NR_unshare,
  __NR_write,
  __NR_bpf,
  __NR_fsetxattr,
  __NR_ioprio_set,
  __NR_sched_setaffinity,
  __NR_sched_setattr,
  __NR_set_mempolicy,
  __NR_fspick,
  __NR_readlinkat,
};
