/*
 * init: runs a program of system calls and becomes the container's process.
 *
 * Contract
 *   argv[1] is the number of a descriptor that holds a program, laid out as in
 *   pyrunc/program/encode.py. init maps it privately, puts the inherited
 *   descriptors into the first slots, makes the relocations addresses, and runs
 *   the steps in order. A step is one system call or one of the control steps
 *   of pyrunc/program/calls.py. init decides nothing: which errno a step may
 *   meet, and what then follows, is written in the program.
 *
 *   Slot 0 is the report channel, slot 1 the command channel. init writes
 *   records to the first: the pid of the cloned process, a sync point that it
 *   waits at (until a byte comes through the second), the step that failed, or
 *   the listener of a filter, whose descriptor comes with the record.
 *   A failed step ends init with status 1. A command channel at end of file,
 *   which means that the runtime has died, ends it as well.
 *
 * It is freestanding: no libc, no allocation, no environment, no dynamic
 * loading, nothing that a hostile root file system could influence.
 * With -DHOSTED it is an ordinary program, for the sanitizers.
 */
#include <asm/unistd.h>
#include <linux/fcntl.h>
#include <linux/stat.h>
#include <stddef.h>
#include <stdint.h>

#include "calls.h"

#define REPORT 0
#define COMMAND 1
#define MAX_SLOTS 128
#define MAX_INHERITED 32
#define SCRATCH_SIZE 4096
#define PENDING (-SCRATCH_SIZE) /* no errno, and no descriptor */
#define TEXT_SIZE 480

enum { IMMEDIATE, DATA, SLOT, SCRATCH };
enum { RECORD_PID = 1, RECORD_SYNC, RECORD_FAILURE, RECORD_LISTENER };
enum { E_INTR = 4, E_BADF = 9, E_AGAIN = 11, E_CHILD = 10, E_INVAL = 22, E_NOEXEC = 8, E_LOOP = 40, E_TIMEDOUT = 110 };

struct header {
	char magic[8];
	uint32_t steps, steps_at, relocations, relocations_at, data_at, data_size;
	int32_t inherited[MAX_INHERITED];
};

struct step {
	uint16_t code, kinds;
	int16_t out;
	uint8_t padding[2], tolerate[8];
	int64_t args[6];
};

struct record {
	uint32_t kind, step;
	int64_t value;
	char text[TEXT_SIZE];
};

static int64_t slots[MAX_SLOTS];
static uint64_t scratch[SCRATCH_SIZE / 8] __attribute__((aligned(16)));
static char *data;
static uint32_t data_size;
/* Where hooks write instead of the descriptor of their step; -1 for there. */
static int64_t hook_streams[2] = { -1, -1 };

#if defined(__x86_64__)
static long call(long n, long a, long b, long c, long d, long e, long f)
{
	long result;
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}

/* clone3 of a thread, which begins with `work` on the stack that the arguments name. */
static long start_thread(const void *args, size_t size, void (*work)(void))
{
	long result;
	__asm__ volatile("syscall\n\ttest %%rax,%%rax\n\tjnz 1f\n\txor %%ebp,%%ebp\n\tcall *%[work]\n1:"
			 : "=a"(result)
			 : "a"(__NR_clone3), "D"(args), "S"(size), [work] "r"(work)
			 : "rcx", "r11", "memory");
	return result;
}
#define RELAX() __asm__ volatile("pause" ::: "memory")
#elif defined(__aarch64__)
static long call(long n, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = n;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;
	__asm__ volatile("svc 0"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
			 : "memory");
	return x0;
}

static long start_thread(const void *args, size_t size, void (*work)(void))
{
	register long x8 __asm__("x8") = __NR_clone3;
	register long x0 __asm__("x0") = (long)args;
	register long x1 __asm__("x1") = size;
	__asm__ volatile("svc 0\n\tcbnz x0, 1f\n\tmov x29, xzr\n\tblr %[work]\n1:"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), [work] "r"(work)
			 : "memory");
	return x0;
}
#define RELAX() __asm__ volatile("yield" ::: "memory")
#else
#error "pyrunc supports x86-64 and aarch64"
#endif

#define CALL1(n, a) call(n, (long)(a), 0, 0, 0, 0, 0)
#define CALL2(n, a, b) call(n, (long)(a), (long)(b), 0, 0, 0, 0)
#define CALL3(n, a, b, c) call(n, (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define CALL4(n, a, b, c, d) call(n, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)

static _Noreturn void leave(int status)
{
	CALL1(__NR_exit_group, status);
	/* A filter does not let it: an illegal instruction ends the process all the same. */
	__builtin_trap();
}

/* ---- talking to the runtime ---------------------------------------------- */

static void report(uint32_t kind, uint32_t step, int64_t value, const char *text, uint32_t size)
{
	struct record record;

	record.kind = kind;
	record.step = step;
	record.value = value;
	for (uint32_t i = 0; i < size; i++)
		record.text[i] = text[i];
	/* Nobody may be left to read it; the exit status still tells of a failure. */
	CALL3(__NR_write, slots[REPORT], &record, offsetof(struct record, text) + size);
}

static long read_byte(int fd)
{
	char byte;
	long got;

	do
		got = CALL3(__NR_read, fd, &byte, 1);
	while (got == -E_INTR);
	return got;
}

static long sync_with_runtime(uint32_t step, int64_t point)
{
	report(RECORD_SYNC, step, point, 0, 0);
	if (read_byte(slots[COMMAND]) != 1)
		leave(1);
	return 0;
}

/* ---- waiting for start --------------------------------------------------- */

static void on_signal(int signal)
{
	leave(128 + signal);
}

/*
 * A first process of a PID namespace ignores signals that it has no handler
 * for, so that without these a created container could only be killed by
 * SIGKILL. execve resets them.
 */
static void die_on_signals(void)
{
	static const char fatal[] = { 1, 2, 3, 6, 10, 12, 14, 15 };
	struct {
		void (*handler)(int);
		unsigned long flags;
		void *restorer;
		uint64_t mask;
	} action = { on_signal, 0, 0, 0 };

#ifdef __x86_64__
	action.flags = 0x04000000; /* SA_RESTORER: demanded by the kernel, never reached */
	action.restorer = (void *)on_signal;
#endif
	for (size_t i = 0; i < sizeof(fatal); i++)
		CALL4(__NR_rt_sigaction, fatal[i], &action, 0, 8);
}

/* The report channel becomes the connection of `start`, which execve closes. */
static long wait_for_start(int listener)
{
	long connection;

	die_on_signals();
	CALL1(__NR_close, slots[REPORT]);
	CALL1(__NR_close, slots[COMMAND]);
	for (;;) {
		connection = CALL4(__NR_accept4, listener, 0, 0, 02000000 /* SOCK_CLOEXEC */);
		if (connection == -E_INTR)
			continue;
		if (connection < 0)
			return connection;
		if (read_byte(connection) == 1)
			break;
		CALL1(__NR_close, connection);
	}
	slots[REPORT] = connection;
	slots[COMMAND] = -1;
	return CALL1(__NR_close, listener);
}

/* ---- hooks --------------------------------------------------------------- */

static _Noreturn void become_hook(const int64_t *args, int *error)
{
	int64_t output = hook_streams[0] < 0 ? args[4] : hook_streams[0];
	int64_t errors = hook_streams[1] < 0 ? args[4] : hook_streams[1];

	/* What it starts is killed with it when its time is over. */
	call(__NR_setsid, 0, 0, 0, 0, 0, 0);
	if (CALL3(__NR_dup3, args[3], 0, 0) >= 0 && CALL3(__NR_dup3, output, 1, 0) >= 0 &&
	    CALL3(__NR_dup3, errors, 2, 0) >= 0 && CALL3(__NR_close_range, 3, ~0U, 0) >= 0)
		*error = -CALL3(__NR_execve, args[0], args[1], args[2]);
	else
		*error = E_BADF;
	leave(127);
}

/* 0, a negative errno, or the wait status of a hook that failed. */
static long run_hook(const int64_t *args)
{
	struct {
		uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;
	} clone = { 0 };
	struct {
		int fd;
		short events, revents;
	} poll;
	struct {
		int64_t seconds, nanoseconds;
	} limit = { args[5] / 1000, args[5] % 1000 * 1000000 };
	int pidfd = -1, status = 0, *error;
	long pid, ready;

	/* PROT_READ|PROT_WRITE, MAP_SHARED|MAP_ANONYMOUS: where the child leaves its errno */
	error = (int *)call(__NR_mmap, 0, 4096, 3, 0x21, -1, 0);
	if ((unsigned long)error > -4096UL)
		return (long)error;
	CALL3(__NR_lseek, args[3], 0, 0);
	/* What an earlier hook wrote is not this one's. */
	CALL2(__NR_ftruncate, args[4], 0);
	CALL3(__NR_lseek, args[4], 0, 0);
	clone.flags = 0x1000; /* CLONE_PIDFD */
	clone.pidfd = (uint64_t)&pidfd;
	clone.exit_signal = 17; /* SIGCHLD */
	pid = CALL2(__NR_clone3, &clone, sizeof(clone));
	if (pid == 0)
		become_hook(args, error);
	if (pid < 0)
		return pid;
	poll.fd = pidfd;
	poll.events = 1; /* POLLIN */
	do
		ready = call(__NR_ppoll, (long)&poll, 1, args[5] ? (long)&limit : 0, 0, 0, 0);
	while (ready == -E_INTR); /* the kernel has counted the time that went by */
	if (ready == 0) {
		CALL2(__NR_kill, -pid, 9);
		CALL4(__NR_pidfd_send_signal, pidfd, 9, 0, 0);
	}
	while (CALL4(__NR_wait4, pid, &status, 0, 0) == -E_INTR)
		;
	CALL1(__NR_close, pidfd);
	if (*error)
		status = -*error;
	CALL2(__NR_munmap, error, 4096);
	return ready == 0 ? -E_TIMEDOUT : status;
}

/* What the hook wrote to its output goes into the report of its failure. */
static uint32_t hook_output(const struct step *step, const int64_t *args, char *text)
{
	long got;

	if (step->code != OP_HOOK)
		return 0;
	got = CALL4(__NR_pread64, args[4], text, TEXT_SIZE, 0);
	return got > 0 ? got : 0;
}

/* ---- tmpcopyup ----------------------------------------------------------- */

#define MAX_DEPTH 200
#define NAME_SIZE 256

/* What could not be copied. */
static char uncopied[NAME_SIZE];

struct entry {
	uint64_t inode;
	int64_t offset;
	uint16_t size;
	uint8_t type;
	char name[];
};

static long copy_directory(long source, long target, int depth);

static long copy_file(long source, long target, const char *name)
{
	long from, to, got;

	from = CALL4(__NR_openat, source, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0);
	if (from < 0)
		return from;
	to = CALL4(__NR_openat, target, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	got = to;
	if (to >= 0) {
		do
			got = CALL4(__NR_sendfile, to, from, 0, 0x7ffff000);
		while (got > 0);
		CALL1(__NR_close, to);
	}
	CALL1(__NR_close, from);
	return got;
}

static long copy_below(long source, long target, const char *name, int depth)
{
	static const long flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	long result = CALL3(__NR_mkdirat, target, name, 0700), from, to;

	if (result < 0)
		return result;
	from = CALL4(__NR_openat, source, name, flags, 0);
	if (from < 0)
		return from;
	to = CALL4(__NR_openat, target, name, flags, 0);
	result = to;
	if (to >= 0) {
		result = copy_directory(from, to, depth - 1);
		CALL1(__NR_close, to);
	}
	CALL1(__NR_close, from);
	return result;
}

static long copy_link(long source, long target, const char *name)
{
	char *text = (char *)scratch;
	long size = CALL4(__NR_readlinkat, source, name, text, SCRATCH_SIZE - 1);

	if (size < 0)
		return size;
	text[size] = 0;
	return CALL3(__NR_symlinkat, text, target, name);
}

static long copy_entry(long source, long target, const char *name, int depth)
{
	struct statx found;
	struct {
		int64_t seconds, nanoseconds;
	} times[2];
	uint32_t kind, device;
	long result = call(__NR_statx, source, (long)name, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS,
			   (long)&found, 0);

	if (result < 0)
		return result;
	kind = found.stx_mode & S_IFMT;
	/* The kernel's encoding (include/linux/kdev_t.h) */
	device = (found.stx_rdev_minor & 0xff) | found.stx_rdev_major << 8 |
		 (found.stx_rdev_minor & ~0xffU) << 12;
	if (kind == S_IFDIR)
		result = copy_below(source, target, name, depth);
	else if (kind == S_IFREG)
		result = copy_file(source, target, name);
	else if (kind == S_IFLNK)
		result = copy_link(source, target, name);
	else
		result = CALL4(__NR_mknodat, target, name, kind | 0600, device);
	if (result >= 0)
		result = call(__NR_fchownat, target, (long)name, found.stx_uid, found.stx_gid,
			      AT_SYMLINK_NOFOLLOW, 0);
	if (result < 0 || kind == S_IFLNK)
		return result;
	/* After the owner, whose change takes the set-user-ID bit away. */
	result = CALL3(__NR_fchmodat, target, name, found.stx_mode & 07777);
	times[0].seconds = found.stx_atime.tv_sec;
	times[0].nanoseconds = found.stx_atime.tv_nsec;
	times[1].seconds = found.stx_mtime.tv_sec;
	times[1].nanoseconds = found.stx_mtime.tv_nsec;
	return result < 0 ? result : CALL4(__NR_utimensat, target, name, times, AT_SYMLINK_NOFOLLOW);
}

/*
 * The source is the image's: names are resolved one at a time, relative to an open directory, and no
 * symbolic link is followed. Each level keeps two descriptors open.
 */
static long copy_directory(long source, long target, int depth)
{
	uint64_t entries[128];
	long got, at, result;

	if (!depth)
		return -E_LOOP;
	while ((got = CALL3(__NR_getdents64, source, entries, sizeof(entries))) > 0)
		for (at = 0; at < got;) {
			const struct entry *entry = (struct entry *)((char *)entries + at);
			const char *name = entry->name;

			at += entry->size;
			if (name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2])))
				continue;
			result = copy_entry(source, target, name, depth);
			if (result >= 0)
				continue;
			if (!uncopied[0])
				for (int i = 0; i < NAME_SIZE - 1 && name[i]; i++)
					uncopied[i] = name[i];
			return result;
		}
	return got;
}

/* Copies what is in one directory into another. */
static long copy_up(long source, long target)
{
	long from = CALL4(__NR_openat, source, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0), result;

	if (from < 0)
		return from;
	result = copy_directory(from, target, MAX_DEPTH);
	CALL1(__NR_close, from);
	return result;
}

static uint32_t uncopied_name(char *text)
{
	uint32_t size = 0;

	for (; size < NAME_SIZE && uncopied[size]; size++)
		text[size] = uncopied[size];
	return size;
}

/* ---- a filter with a listener -------------------------------------------- */

/*
 * Once the filter is in place every system call may be the agent's to answer, and the agent cannot answer
 * before it has the listener. So a second thread, which the filter does not bind, sends it, and the first
 * makes no call until then. execve ends the thread.
 */
static struct {
	struct record_head {
		uint32_t kind, step;
		int64_t value;
	} record;
	struct {
		void *base;
		size_t length;
	} vector;
	struct {
		size_t length;
		int level, type;
		int64_t fd;
	} control;
	struct {
		void *name;
		size_t name_length;
		void *vectors;
		size_t vector_count;
		void *control;
		size_t control_length;
		size_t flags;
	} message;
	int listener, sent;
} handover;

__attribute__((no_sanitize("address", "undefined"))) static _Noreturn void send_listener(void)
{
	int fd;

	while ((fd = __atomic_load_n(&handover.listener, __ATOMIC_ACQUIRE)) == PENDING)
		CALL1(__NR_sched_yield, 0);
	if (fd >= 0) {
		handover.record.value = handover.control.fd = fd;
		/* Nobody receives it: without an agent the process must not go on. */
		if (CALL3(__NR_sendmsg, slots[REPORT], &handover.message, 0x4000 /* MSG_NOSIGNAL */) < 0)
			leave(1);
		__atomic_store_n(&handover.sent, 1, __ATOMIC_RELEASE);
	}
	CALL1(__NR_exit, 0);
	__builtin_trap();
}

static long install_with_listener(uint32_t step, int64_t flags, int64_t program)
{
	struct {
		uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;
	} clone = { 0 };
	int priority = 0;
	long result;

	handover.record = (struct record_head){ RECORD_LISTENER, step, 0 };
	handover.vector.base = &handover.record;
	handover.vector.length = sizeof(handover.record);
	handover.control.length = 20; /* CMSG_LEN of a descriptor */
	handover.control.level = 1; /* SOL_SOCKET */
	handover.control.type = 1; /* SCM_RIGHTS */
	handover.message.vectors = &handover.vector;
	handover.message.vector_count = 1;
	handover.message.control = &handover.control;
	handover.message.control_length = sizeof(handover.control);
	handover.listener = PENDING;
	handover.sent = 0;
	/* CLONE_VM, FS, FILES, SIGHAND, THREAD, SYSVSEM. No step looks at the scratch area any more. */
	clone.flags = 0x50f00;
	clone.stack = (uint64_t)scratch;
	clone.stack_size = SCRATCH_SIZE;
	result = start_thread(&clone, sizeof(clone), send_listener);
	if (result < 0)
		return result;
	/*
	 * Waiting out of the kernel, a real-time process would have its CPU alone: the thread gets by on what
	 * the kernel keeps for others (sched(7), "Limiting the CPU usage of real-time processes").
	 */
	CALL3(__NR_sched_setscheduler, result, 0 /* SCHED_OTHER */, &priority);
	result = CALL3(__NR_seccomp, 1 /* SECCOMP_SET_MODE_FILTER */, flags, program);
	__atomic_store_n(&handover.listener, result, __ATOMIC_RELEASE);
	if (result < 0)
		return result;
	while (!__atomic_load_n(&handover.sent, __ATOMIC_ACQUIRE))
		RELAX();
	return 0;
}

/* ---- steps --------------------------------------------------------------- */

/*
 * The child goes on only once its pid is reported and its parent has ended, which it sees as the
 * end of a pipe: the runtime knows whom it is dealing with before anything else happens.
 */
static long clone_and_leave(uint32_t step, void *args, size_t size)
{
	int ends[2];
	long pid = CALL2(__NR_pipe2, ends, 02000000 /* O_CLOEXEC */);

	if (pid < 0)
		return pid;
	pid = CALL2(__NR_clone3, args, size);
	if (pid > 0) {
		report(RECORD_PID, step, pid, 0, 0);
		leave(0);
	}
	CALL1(__NR_close, ends[1]);
	if (pid == 0)
		read_byte(ends[0]);
	CALL1(__NR_close, ends[0]);
	return pid;
}

static long store(int64_t place, int64_t offset, int64_t value, int64_t width)
{
	uint64_t at = (uint64_t)place + (uint64_t)offset - (uint64_t)data;

	if (width < 0 || width > 8 || at > data_size || (uint64_t)width > data_size - at)
		return -E_INVAL;
	for (int64_t i = 0; i < width; i++)
		data[at + i] = value >> 8 * i;
	return 0;
}

/* Whether there is a field of the scratch area at an address. */
static int is_field(int64_t address)
{
	return (uint64_t)address - (uint64_t)scratch <= SCRATCH_SIZE - 8;
}

/* A field of the scratch area: its address, width in bytes, and mask. */
static uint64_t load_field(const int64_t *args)
{
	const unsigned char *bytes = (const unsigned char *)args[0];
	uint64_t value = 0;

	for (int64_t i = 0; i < args[1] && i < 8; i++)
		value |= (uint64_t)bytes[i] << 8 * i;
	return value & (uint64_t)args[2];
}

/* The result of a step that fails: nothing in a program may make it a success. */
static long failed(int64_t error)
{
	return error > 0 && error < 4096 ? -error : -E_INVAL;
}

static int resolve(const struct step *step, int64_t *args)
{
	for (int i = 0; i < 6; i++) {
		int64_t value = step->args[i];

		switch (step->kinds >> 2 * i & 3) {
		case DATA:
			if ((uint64_t)value >= data_size)
				return -E_INVAL;
			value = (int64_t)(data + value);
			break;
		case SLOT:
			if ((uint64_t)value >= MAX_SLOTS)
				return -E_INVAL;
			value = slots[value];
			break;
		case SCRATCH:
			if ((uint64_t)value > SCRATCH_SIZE - 8)
				return -E_INVAL;
			value = (int64_t)((char *)scratch + value);
			break;
		}
		args[i] = value;
	}
	return 0;
}

static long run_step(const struct step *step, uint32_t index, const int64_t *args)
{
	long result, number;
	int tries = 1000;

	switch (step->code) {
	case OP_STORE:
		return store(args[0], args[1], args[2], args[3]);
	case OP_EXPECT:
		if (!is_field(args[0]))
			return -E_INVAL;
		return load_field(args) == (uint64_t)args[3] ? 0 : failed(args[4]);
	case OP_LOAD:
		return is_field(args[0]) ? (long)load_field(args) : -E_INVAL;
	case OP_REFUSE:
		if (!is_field(args[0]))
			return -E_INVAL;
		return load_field(args) == (uint64_t)args[3] ? failed(args[4]) : 0;
	case OP_CLONE:
		return clone_and_leave(index, (void *)args[0], args[1]);
	case OP_SYNC:
		return sync_with_runtime(index, (uint64_t)args[0] | (uint64_t)args[1] << 8 |
						(uint64_t)args[2] << 36);
	case OP_WAIT:
		return wait_for_start(args[0]);
	case OP_HOOK:
		return run_hook(args);
	case OP_COPY_UP:
		return copy_up(args[0], args[1]);
	case OP_HOOK_STREAMS:
		hook_streams[0] = args[0];
		hook_streams[1] = args[1];
		return 0;
	case OP_NOTIFY:
		return install_with_listener(index, args[0], args[1]);
	case OP_FAIL:
		return failed(args[0]);
	case OP_EXIT:
		leave(args[0]);
	}
	if (step->code < FIRST_CALL || step->code >= FIRST_CALL + CALL_COUNT)
		return -E_INVAL;
	number = call_numbers[step->code - FIRST_CALL];
	/*
	 * openat2 gives up with EAGAIN where something was renamed while ".." was resolved within
	 * a root; somebody who renames all the time must not hold this up for ever.
	 */
	do
		result = call(number, args[0], args[1], args[2], args[3], args[4], args[5]);
	while (result == -E_AGAIN && number == __NR_openat2 && --tries);
	return result;
}

static int tolerated(const struct step *step, long result)
{
	for (size_t i = 0; i < sizeof(step->tolerate); i++)
		if (step->tolerate[i] && -(long)step->tolerate[i] == result)
			return 1;
	return 0;
}

static int run(const struct step *steps, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		const struct step *step = &steps[i];
		int64_t args[6];
		long result = resolve(step, args);

		if (result == 0 && (step->code == OP_IF_OK || step->code == OP_IF_FAILED)) {
			if ((args[0] >= 0) != (step->code == OP_IF_OK)) {
				if ((uint64_t)args[1] >= count)
					return 1;
				i += args[1];
			}
			continue;
		}
		if (result == 0)
			result = run_step(step, i, args);
		if (step->out >= 0 && step->out < MAX_SLOTS)
			slots[step->out] = result;
		if ((result < 0 && !tolerated(step, result)) || (result && step->code == OP_HOOK)) {
			char text[TEXT_SIZE];

			report(RECORD_FAILURE, i, result, text,
			       step->code == OP_COPY_UP ? uncopied_name(text) : hook_output(step, args, text));
			return 1;
		}
	}
	return 0;
}

/* ---- the program --------------------------------------------------------- */

static int number(const char *text)
{
	int value = 0;

	while (*text >= '0' && *text <= '9' && value < 100000000)
		value = value * 10 + *text++ - '0';
	return value;
}

/* Maps the program; returns its steps, or 0 if it is not one. */
static const struct step *map_program(int fd, uint32_t *count)
{
	static const char magic[8] = "pyrunc\0\1";
	long size = CALL3(__NR_lseek, fd, 0, 2 /* SEEK_END */);
	const struct header *header;
	uint64_t steps_end, relocations_end;
	const uint32_t *relocation;
	char *base;

	if (size < (long)sizeof(*header) || size > 1L << 30)
		return 0;
	/* PROT_READ|PROT_WRITE, MAP_PRIVATE */
	base = (char *)call(__NR_mmap, 0, size, 3, 2, fd, 0);
	if ((unsigned long)base > -4096UL)
		return 0;
	CALL1(__NR_close, fd);
	header = (const struct header *)base;
	for (size_t i = 0; i < sizeof(magic); i++)
		if (header->magic[i] != magic[i])
			return 0;
	/* The parts follow one another, so that what is written to the data changes no other. */
	steps_end = header->steps_at + (uint64_t)header->steps * sizeof(struct step);
	relocations_end = header->relocations_at + (uint64_t)header->relocations * 8;
	if (header->steps_at % 8 || header->relocations_at % 4 || header->data_at % 8 ||
	    header->steps_at < sizeof(*header) || header->relocations_at < steps_end ||
	    header->data_at < relocations_end ||
	    header->data_at + (uint64_t)header->data_size > (uint64_t)size)
		return 0;
	data = base + header->data_at;
	data_size = header->data_size;
	relocation = (const uint32_t *)(base + header->relocations_at);
	for (uint32_t i = 0; i < header->relocations; i++, relocation += 2) {
		if (relocation[0] % 8 || relocation[0] + 8ULL > data_size || relocation[1] >= data_size)
			return 0;
		*(uint64_t *)(data + relocation[0]) = (uint64_t)(data + relocation[1]);
	}
	for (size_t i = 0; i < MAX_SLOTS; i++)
		slots[i] = i < MAX_INHERITED ? header->inherited[i] : -1;
	*count = header->steps;
	return (const struct step *)(base + header->steps_at);
}

/*
 * glibc's posix_spawn leaves its two internal signals ignored, which execve would hand on to the
 * container; the others it has reset.
 */
static void reset_signals(void)
{
	static const uint64_t by_default[4];

	for (int signal = 32; signal <= 33; signal++)
		CALL4(__NR_rt_sigaction, signal, by_default, 0, 8);
}

static int enter(int argc, char **argv)
{
	const struct step *steps;
	uint32_t count = 0;

	if (argc != 2)
		return 2;
	reset_signals();
	steps = map_program(number(argv[1]), &count);
	return steps ? run(steps, count) : 2;
}

#ifdef HOSTED
int main(int argc, char **argv)
{
	return enter(argc, argv);
}
#else
/* The compiler may turn loops into these. */
void *memset(void *to, int byte, size_t size)
{
	for (volatile char *p = to; size--; p++)
		*p = byte;
	return to;
}

void *memcpy(void *to, const void *from, size_t size)
{
	volatile char *p = to;
	const char *q = from;

	while (size--)
		*p++ = *q++;
	return to;
}

_Noreturn void enter_from_kernel(long *stack)
{
	leave(enter(stack[0], (char **)(stack + 1)));
}

#if defined(__x86_64__)
__asm__(".globl _start\n_start:\n xor %ebp,%ebp\n mov %rsp,%rdi\n and $-16,%rsp\n call enter_from_kernel\n");
#else
__asm__(".globl _start\n_start:\n mov x29,#0\n mov x0,sp\n bl enter_from_kernel\n");
#endif
#endif
