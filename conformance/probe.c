/*
 * The only program in the suite's containers: it prints what it sees as one line of JSON.
 *
 *   probe report OP...            the report, then exit 0
 *   probe hold OP...              the report, then a line for each signal; SIGTERM ends it with status 15
 *   probe hook LABEL FILE [STATUS [SECONDS [OP...]]]
 *                                 append a line about this hook (its stdin among it) to FILE; {pid} in an OP
 *                                 is the pid of the state on its stdin
 *
 * An OP is KIND:PATH, call:NAME[:ARG...] or call32:NUMBER:ARG (a call of i386's); each gives an entry {"op", "errno", ...} under "ops". What
 * needs no /proc is asked of the kernel itself, so that the report does not depend on the mounts under test.
 * Strings are bytes: those that are not ASCII are written as \u00XX.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static char out[1 << 20];
static size_t used;

static void put(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    int n = vsnprintf(out + used, sizeof out - used, format, list);
    va_end(list);
    if (n < 0 || used + n >= sizeof out)
        _exit(99);
    used += n;
}

static void put_bytes(const char *bytes, size_t length)
{
    put("\"");
    for (size_t i = 0; i < length; i++) {
        unsigned char c = bytes[i];
        if (c < 0x20 || c > 0x7e || c == '"' || c == '\\')
            put("\\u%04x", c);
        else
            put("%c", c);
    }
    put("\"");
}

static void put_string(const char *string)
{
    put_bytes(string, strlen(string));
}

static void put_strings(const char *key, char **list)
{
    put("\"%s\": [", key);
    for (int i = 0; list[i]; i++) {
        put(i ? ", " : "");
        put_string(list[i]);
    }
    put("]");
}

static void flush_to(int descriptor)
{
    put("\n");
    for (size_t done = 0; done < used;) {
        ssize_t n = write(descriptor, out + done, used - done);
        if (n < 0 && errno != EINTR)
            _exit(98);
        if (n > 0)
            done += n;
    }
    used = 0;
}

static size_t read_all(int descriptor, char *buffer, size_t size)
{
    size_t length = 0;
    while (length < size) {
        ssize_t n = read(descriptor, buffer + length, size - length);
        if (n <= 0)
            break;
        length += n;
    }
    return length;
}

static void put_namespaces(void)
{
    static const char *names[] = {"cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"};
    put("\"namespaces\": {");
    for (size_t i = 0, some = 0; i < sizeof names / sizeof *names; i++) {
        char path[64], target[128];
        snprintf(path, sizeof path, "/proc/self/ns/%s", names[i]);
        ssize_t n = readlink(path, target, sizeof target);
        if (n < 0)
            continue;
        put("%s\"%s\": ", some++ ? ", " : "", names[i]);
        put_bytes(target, n);
    }
    put("}");
}

static void put_identity(void)
{
    uid_t r, e, s;
    gid_t groups[256];
    getresuid(&r, &e, &s);
    put("\"uids\": [%u, %u, %u], ", r, e, s);
    getresgid(&r, &e, &s);
    put("\"gids\": [%u, %u, %u], \"groups\": [", r, e, s);
    int n = getgroups(256, groups);
    for (int i = 0; i < n; i++)
        put("%s%u", i ? ", " : "", groups[i]);
    mode_t mask = umask(0);
    umask(mask);
    put("], \"umask\": %u, \"no_new_privs\": %d, ", mask, prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));

    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2] = {{0, 0, 0}, {0, 0, 0}};
    syscall(SYS_capget, &header, data);
    unsigned long long bounding = 0, ambient = 0;
    for (int cap = 0; cap < 64; cap++) {
        if (prctl(PR_CAPBSET_READ, cap, 0, 0, 0) == 1)
            bounding |= 1ULL << cap;
        if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, cap, 0, 0) == 1)
            ambient |= 1ULL << cap;
    }
#define BOTH(set) (data[0].set | (unsigned long long)data[1].set << 32)
    put("\"capabilities\": {\"effective\": %llu, \"permitted\": %llu, \"inheritable\": %llu, \"bounding\": %llu, "
        "\"ambient\": %llu}, ",
        BOTH(effective), BOTH(permitted), BOTH(inheritable), bounding, ambient);
}

static void put_limits(void)
{
    put("\"rlimits\": [");
    for (int i = 0; i < RLIM_NLIMITS; i++) {
        struct rlimit limit = {0, 0};
        getrlimit(i, &limit);
        put("%s[%llu, %llu]", i ? ", " : "", (unsigned long long)limit.rlim_cur,
            (unsigned long long)limit.rlim_max);
    }
    put("], ");
}

static void put_stat(const char *path, int follow)
{
    struct stat st;
    if (follow ? stat(path, &st) : lstat(path, &st)) {
        put("\"errno\": %d", errno);
        return;
    }
    put("\"errno\": 0, \"mode\": %u, \"uid\": %u, \"gid\": %u, \"rdev\": [%u, %u], \"dev\": %llu, "
        "\"ino\": %llu, \"size\": %lld",
        st.st_mode, st.st_uid, st.st_gid, major(st.st_rdev), minor(st.st_rdev), (unsigned long long)st.st_dev,
        (unsigned long long)st.st_ino, (long long)st.st_size);
}

static void put_open(const char *path, int flags)
{
    int descriptor = open(path, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0666);
    put("\"errno\": %d", descriptor < 0 ? errno : 0);
    if (descriptor >= 0)
        close(descriptor);
}

static void put_read(const char *path)
{
    static char buffer[1 << 16];
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0) {
        put("\"errno\": %d", errno);
        return;
    }
    put("\"errno\": 0, \"value\": ");
    put_bytes(buffer, read_all(descriptor, buffer, sizeof buffer));
    close(descriptor);
}

static void put_list(const char *path)
{
    DIR *directory = opendir(path);
    put("\"errno\": %d, \"value\": [", directory ? 0 : errno);
    struct dirent *entry;
    for (int some = 0; directory && (entry = readdir(directory));)
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..")) {
            put(some++ ? ", " : "");
            put_string(entry->d_name);
        }
    put("]");
    if (directory)
        closedir(directory);
}

static void put_call(char *text)
{
    static const struct {
        const char *name;
        long number;
    } calls[] = {{"getpgid", SYS_getpgid},
                 {"getpriority", SYS_getpriority},
                 {"getsid", SYS_getsid},
                 {"ioprio_get", SYS_ioprio_get},
                 {"personality", SYS_personality},
                 {"sched_get_priority_max", SYS_sched_get_priority_max},
                 {"sched_get_priority_min", SYS_sched_get_priority_min},
                 {"sched_getscheduler", SYS_sched_getscheduler},
                 {"sched_yield", SYS_sched_yield},
                 {"sethostname", SYS_sethostname}};
    long args[6] = {0}, number = -1;
    char *save, *word = strtok_r(text, ":", &save);
    for (size_t i = 0; word && i < sizeof calls / sizeof *calls; i++)
        if (!strcmp(word, calls[i].name))
            number = calls[i].number;
    for (int i = 0; i < 6 && (word = strtok_r(NULL, ":", &save)); i++)
        args[i] = strtoull(word, NULL, 0);
    errno = 0;
    long result = syscall(number, args[0], args[1], args[2], args[3], args[4], args[5]);
    put("\"errno\": %d, \"value\": %ld", result == -1 ? errno : 0, result);
}

static void put_call32(const char *text)
{
    char *end;
    long result = strtol(text, &end, 0), argument = *end ? strtol(end + 1, NULL, 0) : 0;
#ifdef __x86_64__
    __asm__ volatile("int $0x80" : "+a"(result) : "b"(argument) : "memory", "r8", "r9", "r10", "r11");
#else
    (void)argument;
    result = -ENOSYS;
#endif
    put("\"errno\": %d, \"value\": %ld", result < 0 ? (int)-result : 0, result);
}

static void put_op(const char *op)
{
    char kind[32], text[4096], target[4096];
    const char *colon = strchr(op, ':');
    if (!colon || (size_t)(colon - op) >= sizeof kind || strlen(op) >= sizeof text)
        _exit(97);
    snprintf(kind, sizeof kind, "%.*s", (int)(colon - op), op);
    snprintf(text, sizeof text, "%s", colon + 1);
    put("{\"op\": ");
    put_string(op);
    put(", ");
    if (!strcmp(kind, "stat"))
        put_stat(text, 1);
    else if (!strcmp(kind, "lstat"))
        put_stat(text, 0);
    else if (!strcmp(kind, "read"))
        put_read(text);
    else if (!strcmp(kind, "list"))
        put_list(text);
    else if (!strcmp(kind, "create"))
        put_open(text, O_WRONLY | O_CREAT);
    else if (!strcmp(kind, "openr"))
        put_open(text, O_RDONLY);
    else if (!strcmp(kind, "openw"))
        put_open(text, O_WRONLY);
    else if (!strcmp(kind, "exec")) {
        /* Not what happens then, but whether the kernel would do it. */
        put("\"errno\": %d", access(text, X_OK) ? errno : 0);
    } else if (!strcmp(kind, "readlink")) {
        ssize_t n = readlink(text, target, sizeof target);
        put("\"errno\": %d, \"value\": ", n < 0 ? errno : 0);
        put_bytes(target, n < 0 ? 0 : n);
    } else if (!strcmp(kind, "append")) {
        int descriptor = open(text, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
        int n = descriptor < 0 ? -1 : write(descriptor, "{\"label\": \"program\"}\n", 21);
        put("\"errno\": %d", n < 0 ? errno : 0);
    } else if (!strcmp(kind, "clock")) {
        struct timespec now = {0, 0};
        clock_gettime(!strcmp(text, "boottime") ? CLOCK_BOOTTIME : CLOCK_MONOTONIC, &now);
        put("\"errno\": 0, \"value\": %lld", (long long)now.tv_sec);
    } else if (!strcmp(kind, "call"))
        put_call(text);
    else if (!strcmp(kind, "call32"))
        put_call32(text);
    else
        _exit(97);
    put("}");
}

static void report(char **argv)
{
    char cwd[4096];
    struct utsname names;
    struct winsize size = {0, 0, 0, 0};
    put("{");
    put_strings("argv", argv);
    put(", ");
    put_strings("env", environ);
    put(", \"cwd\": ");
    put_string(getcwd(cwd, sizeof cwd) ? cwd : "");
    uname(&names);
    put(", \"hostname\": ");
    put_string(names.nodename);
    put(", \"domainname\": ");
    put_string(names.domainname);
    put(", \"machine\": ");
    put_string(names.machine);
    put(", \"pid\": %d, ", getpid());
    put_identity();
    put_limits();
    put_namespaces();
    int terminal = isatty(0) && isatty(1) && isatty(2);
    ioctl(0, TIOCGWINSZ, &size);
    put(", \"terminal\": %s, \"console\": [%d, %d]", terminal ? "true" : "false", size.ws_row, size.ws_col);
    put(", \"ops\": [");
    for (int i = 2; argv[i]; i++) {
        put(i > 2 ? ", " : "");
        put_op(argv[i]);
    }
    put("]}");
    flush_to(1);
}

/* An OP with the pid of the state in the place of the first {pid}. */
static void put_op_about(const char *op, int pid)
{
    char text[4096];
    const char *place = strstr(op, "{pid}");
    if (place)
        snprintf(text, sizeof text, "%.*s%d%s", (int)(place - op), op, pid, place + 5);
    else
        snprintf(text, sizeof text, "%s", op);
    put_op(text);
}

static int hook(char **argv, int argc)
{
    static char input[1 << 16];
    size_t length = read_all(0, input, sizeof input - 1);
    const char *pid = strstr(input, "\"pid\":");
    int descriptor = open(argv[3], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    put("{\"label\": ");
    put_string(argv[2]);
    put(", \"stdin\": ");
    put_bytes(input, length);
    put(", ");
    put_strings("argv", argv);
    put(", ");
    put_strings("env", environ);
    put(", ");
    put_namespaces();
    put(", \"ops\": [");
    for (int i = 6; i < argc; i++) {
        put(i > 6 ? ", " : "");
        put_op_about(argv[i], pid ? atoi(pid + 6) : 0);
    }
    put("]}");
    flush_to(descriptor);
    if (argc > 5)
        sleep(atoi(argv[5]));
    return argc > 4 ? atoi(argv[4]) : 0;
}

int main(int argc, char **argv)
{
    if (argc >= 4 && !strcmp(argv[1], "hook"))
        return hook(argv, argc);
    if (argc >= 2 && !strcmp(argv[1], "report")) {
        report(argv);
        return 0;
    }
    if (argc >= 2 && !strcmp(argv[1], "hold")) {
        /* Blocked from before the report, which tells the suite that signals can be sent. */
        sigset_t all;
        sigfillset(&all);
        sigprocmask(SIG_BLOCK, &all, NULL);
        report(argv);
        for (;;) {
            int number = sigwaitinfo(&all, NULL);
            if (number < 0)
                continue;
            put("{\"signal\": %d}", number);
            flush_to(1);
            if (number == SIGTERM)
                return 15;
        }
    }
    return 96;
}
