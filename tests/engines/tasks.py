"""What tests run under containerd, and how they find it from the host."""

from engine import Containerd

IMAGE = "docker.io/library/busybox:latest"
#: A string that doubles until it does not fit into memory.
DEVOURS = "x=aaaaaaaaaaaaaaaa; while :; do x=$x$x; done"
#: What a process can see of how it was started, but for what is new each time.
VIEW = """
grep -E '^(Umask|Uid|Gid|Groups|Threads|Sig[PBIC]|Shd|Cap|NoNewPrivs|Seccomp|Cpus|Mems|THP)' /proc/$P/status
cat /proc/$P/limits /proc/$P/cgroup /proc/$P/uid_map /proc/$P/setgroups /proc/$P/comm /proc/$P/loginuid
cat /proc/$P/oom_score_adj /proc/$P/personality /proc/$P/timerslack_ns /proc/$P/coredump_filter
tr '\\0' '\\n' < /proc/$P/environ; cut -d' ' -f7-8,18-20,41 /proc/$P/stat
readlink /proc/$P/cwd /proc/$P/exe /proc/$P/root; umask; taskset -p $P; chrt -p $P; ionice -p $P
ls -ln / /dev /dev/pts /dev/shm | grep -Ev ' (mqueue|proc)$' | sed 's/ [A-Z][a-z]* *[0-9]* *[0-9:]* / /'
cut -d' ' -f4-6 /proc/self/mountinfo | grep -Ev ' (/dev/[a-z]+|/proc/acpi|/sys/firmware) ' | sort
hostname; ip addr; ls /sys/class/net; find /sys/fs/cgroup -maxdepth 1 | sort
for path in /proc/kcore /proc/timer_list /proc/acpi /sys/firmware /proc/sysrq-trigger /proc/bus /proc/irq; do
  ls -dln $path | cut -c1-24; test -w $path && echo writable
done
"""


def pid_of(ctr: Containerd, container: str) -> int:
    lines = ctr("tasks", "list", compare=False).out.splitlines()
    return next(int(line.split()[1]) for line in lines if line.split()[0] == container)
