# Written by `python -m pyrunc.cli.manual --completion fish`.

function __pyrunc_ids
    pyrunc list --quiet 2>/dev/null
end

# Whether there is a verb: the one that is wanted, or any.
function __pyrunc_verb --argument-names wanted
    set -l value 0
    for word in (commandline -opc)[2..]
        if test $value = 1
            set value 0
        else if contains -- $word --log --log-format --root --rootless
            set value 1
        else if not string match -q -- '-*' $word
            test -z "$wanted" -o "$wanted" = $word
            return
        end
    end
    return 1
end

complete -c pyrunc -f
complete -c pyrunc -n 'not __pyrunc_verb' -l debug -d 'log every decision, and show a traceback when pyrunc itself fails'
complete -c pyrunc -n 'not __pyrunc_verb' -l log -r -F -d 'append log records to FILE instead of writing them to stderr'
complete -c pyrunc -n 'not __pyrunc_verb' -l log-format -x -a 'text json' -d 'how log records are written'
complete -c pyrunc -n 'not __pyrunc_verb' -l root -x -a '(__fish_complete_directories)' -d 'where the state of containers is kept (default: /run/pyrunc, or $XDG_RUNTIME_DIR/pyrunc for an ordinary user)'
complete -c pyrunc -n 'not __pyrunc_verb' -l systemd-cgroup -d 'accepted from engines, with a warning: cgroups are made through the cgroup file system'
complete -c pyrunc -n 'not __pyrunc_verb' -l rootless -x -a 'auto true false' -d 'go on where cgroups may not be changed'
complete -c pyrunc -n 'not __pyrunc_verb' -l help -s h -d 'show this help'
complete -c pyrunc -n 'not __pyrunc_verb' -l version -s v -d 'print the version of pyrunc and of the specification'
complete -c pyrunc -n 'not __pyrunc_verb' -a create -d 'create a container that waits for start'
complete -c pyrunc -n 'not __pyrunc_verb' -a delete -d 'remove what a stopped container holds'
complete -c pyrunc -n 'not __pyrunc_verb' -a events -d 'show what a container uses, and that it ran out of memory'
complete -c pyrunc -n 'not __pyrunc_verb' -a exec -d 'run another process in a container'
complete -c pyrunc -n 'not __pyrunc_verb' -a features -d 'print what this runtime supports'
complete -c pyrunc -n 'not __pyrunc_verb' -a kill -d 'send a signal to a container'
complete -c pyrunc -n 'not __pyrunc_verb' -a list -d 'list containers'
complete -c pyrunc -n 'not __pyrunc_verb' -a pause -d 'freeze a container'
complete -c pyrunc -n 'not __pyrunc_verb' -a plan -d 'print the system calls that would make a container'
complete -c pyrunc -n 'not __pyrunc_verb' -a ps -d 'list the processes of a container'
complete -c pyrunc -n 'not __pyrunc_verb' -a resume -d 'go on with a paused container'
complete -c pyrunc -n 'not __pyrunc_verb' -a run -d 'create and start a container'
complete -c pyrunc -n 'not __pyrunc_verb' -a spec -d 'write a default config.json'
complete -c pyrunc -n 'not __pyrunc_verb' -a start -d 'run the program of a created container'
complete -c pyrunc -n 'not __pyrunc_verb' -a state -d 'print the state of a container'
complete -c pyrunc -n 'not __pyrunc_verb' -a validate -d 'check a configuration'
complete -c pyrunc -n 'not __pyrunc_verb' -a help -d 'explain a verb'
complete -c pyrunc -n '__pyrunc_verb help' -a 'create delete events exec features kill list pause plan ps resume run spec start state validate'
complete -c pyrunc -n '__pyrunc_verb create' -l bundle -s b -x -a '(__fish_complete_directories)' -d 'the bundle: a directory with config.json (default: this one)'
complete -c pyrunc -n '__pyrunc_verb create' -l console-socket -r -F -d 'unix socket that is sent the terminal\'s master descriptor'
complete -c pyrunc -n '__pyrunc_verb create' -l pidfd-socket -r -F -d 'unix socket that is sent a pidfd of the container\'s process'
complete -c pyrunc -n '__pyrunc_verb create' -l pid-file -r -F -d 'write the process id, as the host counts it, to FILE'
complete -c pyrunc -n '__pyrunc_verb create' -l no-pivot -d 'enter the root with MS_MOVE and chroot, for a root on a ramdisk'
complete -c pyrunc -n '__pyrunc_verb create' -l no-new-keyring -d 'keep the caller\'s session keyring'
complete -c pyrunc -n '__pyrunc_verb create' -l preserve-fds -x -d 'pass N more descriptors, from 3 (or after $LISTEN_FDS of them) on'
complete -c pyrunc -n '__pyrunc_verb create' -l help -s h -d 'show this help'
complete -c pyrunc -n '__pyrunc_verb delete' -l force -s f -d 'kill a container that still runs; an unknown ID is no error'
complete -c pyrunc -n '__pyrunc_verb delete' -l help -s h -d 'show this help'
complete -c pyrunc -n '__pyrunc_verb delete' -a '(__pyrunc_ids)'
complete -c pyrunc -n '__pyrunc_verb events' -l interval -x -d 'time between statistics, such as 5s or 500ms'
complete -c pyrunc -n '__pyrunc_verb events' -l stats -d 'print the statistics once, and end'
complete -c pyrunc -n '__pyrunc_verb events' -l help -s h -d 'show this help'
complete -c pyrunc -n '__pyrunc_verb events' -a '(__pyrunc_ids)'
complete -c pyrunc -n '__pyrunc_verb exec' -l process -s p -r -F -d 'take the whole process object, as in config.json, from FILE'
complete -c pyrunc -n '__pyrunc_verb exec' -l tty -s t -d 'give the process a terminal'
complete -c pyrunc -n '__pyrunc_verb exec' -l detach -s d -d 'return once the process runs'
complete -c pyrunc -n '__pyrunc_verb exec' -l cwd -x -d 'working directory in the container'
complete -c pyrunc -n '__pyrunc_verb exec' -l env -s e -x -d 'add to the environment'
complete -c pyrunc -n '__pyrunc_verb exec' -l user -s u -x -d 'user and group, as numbers'
complete -c pyrunc -n '__pyrunc_verb exec' -l additional-gids -s g -x -d 'add a supplementary group'
complete -c pyrunc -n '__pyrunc_verb exec' -l cap -s c -x -d 'add a capability'
complete -c pyrunc -n '__pyrunc_verb exec' -l no-new-privs -d 'set no_new_privs for the process'
complete -c pyrunc -n '__pyrunc_verb exec' -l apparmor -x -d 'AppArmor profile of the process'
complete -c pyrunc -n '__pyrunc_verb exec' -l process-label -x -d 'SELinux label of the process'
complete -c pyrunc -n '__pyrunc_verb exec' -l pid-file -r -F -d 'write the process id, as the host counts it, to FILE'
complete -c pyrunc -n '__pyrunc_verb exec' -l console-socket -r -F -d 'unix socket that is sent the terminal\'s master descriptor'
complete -c pyrunc -n '__pyrunc_verb exec' -l pidfd-socket -r -F -d 'unix socket that is sent a pidfd of the container\'s process'
complete -c pyrunc -n '__pyrunc_verb exec' -l preserve-fds -x -d 'pass N more descriptors, from 3 (or after $LISTEN_FDS of them) on'
complete -c pyrunc -n '__pyrunc_verb exec' -l ignore-paused -d 'do it in a paused container too; the process then waits'
complete -c pyrunc -n '__pyrunc_verb exec' -l cgroup -x -d 'run in this cgroup below the container\'s'
complete -c pyrunc -n '__pyrunc_verb exec' -l help -s h -d 'show this help'
complete -c pyrunc -n '__pyrunc_verb exec' -a '(__pyrunc_ids)'
complete -c pyrunc -n '__pyrunc_verb features' -l help -s h -d 'show this help'
complete -c pyrunc -n '__pyrunc_verb kill' -l all -s a -d 'send it to every process of the container'
complete -c pyrunc -n '__pyrunc_verb kill' -l help -s h -d 'show this help'
complete -c pyrunc -n '__pyrunc_verb kill' -a '(__pyrunc_ids)'
complete -c pyrunc -n '__pyrunc_verb kill' -a 'HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS IOT CLD POLL'
complete -c pyrunc -n '__pyrunc_verb list' -l format -s f -x -a 'table json' -d 'how the list is printed'
complete -c pyrunc -n '__pyrunc_verb list' -l quiet -s q -d 'print ids only'
complete -c pyrunc -n '__pyrunc_verb list' -l help -s h -d 'show this help'
complete -c pyrunc -n '__pyrunc_verb pause' -l help -s h -d 'show this help'
complete -c pyrunc -n '__pyrunc_verb pause' -a '(__pyrunc_ids)'
complete -c pyrunc -n '__pyrunc_verb plan' -l format -s f -x -a 'text json' -d 'how the result is printed'
complete -c pyrunc -n '__pyrunc_verb plan' -l bundle -s b -x -a '(__fish_complete_directories)' -d 'the bundle: a directory with config.json (default: this one)'
complete -c pyrunc -n '__pyrunc_verb plan' -l no-pivot -d 'enter the root with MS_MOVE and chroot, for a root on a ramdisk'
complete -c pyrunc -n '__pyrunc_verb plan' -l no-new-keyring -d 'keep the caller\'s session keyring'
complete -c pyrunc -n '__pyrunc_verb plan' -l help -s h -d 'show this help'
complete -c pyrunc -n '__pyrunc_verb plan' -F
complete -c pyrunc -n '__pyrunc_verb ps' -l format -s f -x -a 'table json' -d 'how the list is printed'
complete -c pyrunc -n '__pyrunc_verb ps' -l help -s h -d 'show this help'
complete -c pyrunc -n '__pyrunc_verb ps' -a '(__pyrunc_ids)'
complete -c pyrunc -n '__pyrunc_verb resume' -l help -s h -d 'show this help'
complete -c pyrunc -n '__pyrunc_verb resume' -a '(__pyrunc_ids)'
complete -c pyrunc -n '__pyrunc_verb run' -l bundle -s b -x -a '(__fish_complete_directories)' -d 'the bundle: a directory with config.json (default: this one)'
complete -c pyrunc -n '__pyrunc_verb run' -l console-socket -r -F -d 'unix socket that is sent the terminal\'s master descriptor'
complete -c pyrunc -n '__pyrunc_verb run' -l pidfd-socket -r -F -d 'unix socket that is sent a pidfd of the container\'s process'
complete -c pyrunc -n '__pyrunc_verb run' -l pid-file -r -F -d 'write the process id, as the host counts it, to FILE'
complete -c pyrunc -n '__pyrunc_verb run' -l no-pivot -d 'enter the root with MS_MOVE and chroot, for a root on a ramdisk'
complete -c pyrunc -n '__pyrunc_verb run' -l no-new-keyring -d 'keep the caller\'s session keyring'
complete -c pyrunc -n '__pyrunc_verb run' -l preserve-fds -x -d 'pass N more descriptors, from 3 (or after $LISTEN_FDS of them) on'
complete -c pyrunc -n '__pyrunc_verb run' -l detach -s d -d 'return once the process runs'
complete -c pyrunc -n '__pyrunc_verb run' -l keep -d 'do not delete the container when its process ends'
complete -c pyrunc -n '__pyrunc_verb run' -l no-subreaper -d 'do not adopt processes whose parents end'
complete -c pyrunc -n '__pyrunc_verb run' -l help -s h -d 'show this help'
complete -c pyrunc -n '__pyrunc_verb spec' -l bundle -s b -x -a '(__fish_complete_directories)' -d 'write to this directory instead of the current one'
complete -c pyrunc -n '__pyrunc_verb spec' -l rootless -d 'for an ordinary user: with a user namespace, without cgroups'
complete -c pyrunc -n '__pyrunc_verb spec' -l rootfs -d 'also fill an absent rootfs/ from static busybox'
complete -c pyrunc -n '__pyrunc_verb spec' -l help -s h -d 'show this help'
complete -c pyrunc -n '__pyrunc_verb start' -l help -s h -d 'show this help'
complete -c pyrunc -n '__pyrunc_verb start' -a '(__pyrunc_ids)'
complete -c pyrunc -n '__pyrunc_verb state' -l help -s h -d 'show this help'
complete -c pyrunc -n '__pyrunc_verb state' -a '(__pyrunc_ids)'
complete -c pyrunc -n '__pyrunc_verb validate' -l format -s f -x -a 'text json' -d 'how the result is printed'
complete -c pyrunc -n '__pyrunc_verb validate' -l bundle -s b -x -a '(__fish_complete_directories)' -d 'the bundle: a directory with config.json (default: this one)'
complete -c pyrunc -n '__pyrunc_verb validate' -l help -s h -d 'show this help'
complete -c pyrunc -n '__pyrunc_verb validate' -F
