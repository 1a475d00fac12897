# Written by `python -m pyrunc.cli.manual --completion bash`.

_pyrunc_ids() {
    COMPREPLY=($(compgen -W "$(pyrunc "${root[@]}" list --quiet 2>/dev/null)" -- "$cur"))
}

_pyrunc() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    local verb= word valued="--log --log-format --root --cgroup-manager --rootless" first= index
    local -a root=()
    COMPREPLY=()
    # The verb is the first word that is neither a flag nor a flag's value; so is an argument after it.
    for ((index = 1; index < COMP_CWORD; index++)); do
        word=${COMP_WORDS[index]}
        if [[ " $valued " == *" $word "* ]]; then
            [[ $word == --root ]] && root=(--root "${COMP_WORDS[index + 1]}")
            ((index++))
        elif [[ $word != -* && -z $verb ]]; then
            verb=$word
            case $verb in
            create) valued="$valued --bundle -b --console-socket --pidfd-socket --pid-file --preserve-fds" ;;
            delete) valued="$valued " ;;
            events) valued="$valued --interval" ;;
            exec) valued="$valued --process -p --cwd --env -e --user -u --additional-gids -g --cap -c --apparmor --process-label --pid-file --console-socket --pidfd-socket --preserve-fds --cgroup" ;;
            kill) valued="$valued " ;;
            list) valued="$valued --format -f" ;;
            plan) valued="$valued --format -f --bundle -b" ;;
            ps) valued="$valued --format -f" ;;
            run) valued="$valued --bundle -b --console-socket --pidfd-socket --pid-file --preserve-fds" ;;
            spec) valued="$valued --bundle -b" ;;
            update) valued="$valued --resources -r --blkio-weight --cpu-period --cpu-quota --cpu-burst --cpu-share --cpu-rt-period --cpu-rt-runtime --cpu-idle --cpuset-cpus --cpuset-mems --memory --memory-reservation --memory-swap --pids-limit --l3-cache-schema --mem-bw-schema" ;;
            validate) valued="$valued --format -f --bundle -b" ;;
            esac
        elif [[ $word != -* && -z $first ]]; then
            first=$word
        fi
    done
    if [[ -z $verb ]]; then
        case $prev in
        --log) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        --log-format) COMPREPLY=($(compgen -W "text json" -- "$cur")); return ;;
        --root) COMPREPLY=($(compgen -d -- "$cur")); return ;;
        --cgroup-manager) COMPREPLY=($(compgen -W "cgroupfs systemd disabled" -- "$cur")); return ;;
        --rootless) COMPREPLY=($(compgen -W "auto true false" -- "$cur")); return ;;
        esac
        COMPREPLY=($(compgen -W "create delete events exec features kill list pause plan ps resume run spec start state update validate help --debug --log --log-format --root --systemd-cgroup --cgroup-manager --rootless --help -h --version -v" -- "$cur"))
        return
    fi
    case $verb in
    create)
        case $prev in
        --bundle|-b) COMPREPLY=($(compgen -d -- "$cur")); return ;;
        --console-socket) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        --pidfd-socket) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        --pid-file) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        --preserve-fds) COMPREPLY=(); return ;;
        esac
        if [[ $cur == -* ]]; then
            COMPREPLY=($(compgen -W "--bundle -b --console-socket --pidfd-socket --pid-file --no-pivot --no-new-keyring --preserve-fds --help -h" -- "$cur"))
        elif [[ -z $first ]]; then
            :
        else
            :
        fi
        ;;
    delete)
        if [[ $cur == -* ]]; then
            COMPREPLY=($(compgen -W "--force -f --help -h" -- "$cur"))
        elif [[ -z $first ]]; then
            _pyrunc_ids
        else
            :
        fi
        ;;
    events)
        case $prev in
        --interval) COMPREPLY=(); return ;;
        esac
        if [[ $cur == -* ]]; then
            COMPREPLY=($(compgen -W "--interval --stats --help -h" -- "$cur"))
        elif [[ -z $first ]]; then
            _pyrunc_ids
        else
            :
        fi
        ;;
    exec)
        case $prev in
        --process|-p) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        --cwd) COMPREPLY=(); return ;;
        --env|-e) COMPREPLY=(); return ;;
        --user|-u) COMPREPLY=(); return ;;
        --additional-gids|-g) COMPREPLY=(); return ;;
        --cap|-c) COMPREPLY=(); return ;;
        --apparmor) COMPREPLY=(); return ;;
        --process-label) COMPREPLY=(); return ;;
        --pid-file) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        --console-socket) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        --pidfd-socket) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        --preserve-fds) COMPREPLY=(); return ;;
        --cgroup) COMPREPLY=(); return ;;
        esac
        if [[ $cur == -* ]]; then
            COMPREPLY=($(compgen -W "--process -p --tty -t --detach -d --cwd --env -e --user -u --additional-gids -g --cap -c --no-new-privs --apparmor --process-label --pid-file --console-socket --pidfd-socket --preserve-fds --ignore-paused --cgroup --help -h" -- "$cur"))
        elif [[ -z $first ]]; then
            _pyrunc_ids
        else
            :
        fi
        ;;
    features)
        if [[ $cur == -* ]]; then
            COMPREPLY=($(compgen -W "--help -h" -- "$cur"))
        elif [[ -z $first ]]; then
            :
        else
            :
        fi
        ;;
    kill)
        if [[ $cur == -* ]]; then
            COMPREPLY=($(compgen -W "--all -a --help -h" -- "$cur"))
        elif [[ -z $first ]]; then
            _pyrunc_ids
        else
            COMPREPLY=($(compgen -W "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS IOT CLD POLL" -- "$cur"))
        fi
        ;;
    list)
        case $prev in
        --format|-f) COMPREPLY=($(compgen -W "table json" -- "$cur")); return ;;
        esac
        if [[ $cur == -* ]]; then
            COMPREPLY=($(compgen -W "--format -f --quiet -q --help -h" -- "$cur"))
        elif [[ -z $first ]]; then
            :
        else
            :
        fi
        ;;
    pause)
        if [[ $cur == -* ]]; then
            COMPREPLY=($(compgen -W "--help -h" -- "$cur"))
        elif [[ -z $first ]]; then
            _pyrunc_ids
        else
            :
        fi
        ;;
    plan)
        case $prev in
        --format|-f) COMPREPLY=($(compgen -W "text json" -- "$cur")); return ;;
        --bundle|-b) COMPREPLY=($(compgen -d -- "$cur")); return ;;
        esac
        if [[ $cur == -* ]]; then
            COMPREPLY=($(compgen -W "--format -f --bundle -b --no-pivot --no-new-keyring --help -h" -- "$cur"))
        elif [[ -z $first ]]; then
            COMPREPLY=($(compgen -f -- "$cur"))
        else
            :
        fi
        ;;
    ps)
        case $prev in
        --format|-f) COMPREPLY=($(compgen -W "table json" -- "$cur")); return ;;
        esac
        if [[ $cur == -* ]]; then
            COMPREPLY=($(compgen -W "--format -f --help -h" -- "$cur"))
        elif [[ -z $first ]]; then
            _pyrunc_ids
        else
            :
        fi
        ;;
    resume)
        if [[ $cur == -* ]]; then
            COMPREPLY=($(compgen -W "--help -h" -- "$cur"))
        elif [[ -z $first ]]; then
            _pyrunc_ids
        else
            :
        fi
        ;;
    run)
        case $prev in
        --bundle|-b) COMPREPLY=($(compgen -d -- "$cur")); return ;;
        --console-socket) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        --pidfd-socket) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        --pid-file) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        --preserve-fds) COMPREPLY=(); return ;;
        esac
        if [[ $cur == -* ]]; then
            COMPREPLY=($(compgen -W "--bundle -b --console-socket --pidfd-socket --pid-file --no-pivot --no-new-keyring --preserve-fds --detach -d --keep --no-subreaper --help -h" -- "$cur"))
        elif [[ -z $first ]]; then
            :
        else
            :
        fi
        ;;
    spec)
        case $prev in
        --bundle|-b) COMPREPLY=($(compgen -d -- "$cur")); return ;;
        esac
        if [[ $cur == -* ]]; then
            COMPREPLY=($(compgen -W "--bundle -b --rootless --rootfs --help -h" -- "$cur"))
        elif [[ -z $first ]]; then
            :
        else
            :
        fi
        ;;
    start)
        if [[ $cur == -* ]]; then
            COMPREPLY=($(compgen -W "--help -h" -- "$cur"))
        elif [[ -z $first ]]; then
            _pyrunc_ids
        else
            :
        fi
        ;;
    state)
        if [[ $cur == -* ]]; then
            COMPREPLY=($(compgen -W "--help -h" -- "$cur"))
        elif [[ -z $first ]]; then
            _pyrunc_ids
        else
            :
        fi
        ;;
    update)
        case $prev in
        --resources|-r) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        --blkio-weight) COMPREPLY=(); return ;;
        --cpu-period) COMPREPLY=(); return ;;
        --cpu-quota) COMPREPLY=(); return ;;
        --cpu-burst) COMPREPLY=(); return ;;
        --cpu-share) COMPREPLY=(); return ;;
        --cpu-rt-period) COMPREPLY=(); return ;;
        --cpu-rt-runtime) COMPREPLY=(); return ;;
        --cpu-idle) COMPREPLY=(); return ;;
        --cpuset-cpus) COMPREPLY=(); return ;;
        --cpuset-mems) COMPREPLY=(); return ;;
        --memory) COMPREPLY=(); return ;;
        --memory-reservation) COMPREPLY=(); return ;;
        --memory-swap) COMPREPLY=(); return ;;
        --pids-limit) COMPREPLY=(); return ;;
        --l3-cache-schema) COMPREPLY=(); return ;;
        --mem-bw-schema) COMPREPLY=(); return ;;
        esac
        if [[ $cur == -* ]]; then
            COMPREPLY=($(compgen -W "--resources -r --blkio-weight --cpu-period --cpu-quota --cpu-burst --cpu-share --cpu-rt-period --cpu-rt-runtime --cpu-idle --cpuset-cpus --cpuset-mems --memory --memory-reservation --memory-swap --pids-limit --l3-cache-schema --mem-bw-schema --help -h" -- "$cur"))
        elif [[ -z $first ]]; then
            _pyrunc_ids
        else
            :
        fi
        ;;
    validate)
        case $prev in
        --format|-f) COMPREPLY=($(compgen -W "text json" -- "$cur")); return ;;
        --bundle|-b) COMPREPLY=($(compgen -d -- "$cur")); return ;;
        esac
        if [[ $cur == -* ]]; then
            COMPREPLY=($(compgen -W "--format -f --bundle -b --help -h" -- "$cur"))
        elif [[ -z $first ]]; then
            COMPREPLY=($(compgen -f -- "$cur"))
        else
            :
        fi
        ;;
    help) COMPREPLY=($(compgen -W "create delete events exec features kill list pause plan ps resume run spec start state update validate" -- "$cur")) ;;
    esac
}

complete -o filenames -F _pyrunc pyrunc
