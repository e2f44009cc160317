#!/bin/sh
# The command `egressmon` of a wheel: Python, isolated (-I) from its first instruction.
#
# The entry points that pip writes start Python without -I: code from PYTHONPATH or a
# sitecustomize would run before our first line. This shell changes the environment (and
# some shells drop what is no name of theirs), so the whole of it is noted before, and
# startup/environment.py restores it for the command; of a huge one, what shells change.
# Python ignores signals of its own, so what the caller ignores and blocks is noted, too.
# Two variables that Python reads even with -I are removed here, and also restored.
_egressmon_env='/usr/bin/env --block-signal=INT'
_egressmon_all=$($_egressmon_env PATH=/usr/bin:/bin od -An -v -tx1 /proc/$$/environ 2>/dev/null) || {
    _egressmon_env= # one that cannot block: Ctrl-C while Python itself starts is loud
    _egressmon_all=$(command -p od -An -v -tx1 /proc/$$/environ)
}
_egressmon_all="* $_egressmon_all"
[ ${#_egressmon_all} -lt 130000 ] || _egressmon_all="PWD,OLDPWD,SHLVL,_,PYTHONEXECUTABLE,__PYVENV_LAUNCHER__,_EGRESSMON_RESTORED,_EGRESSMON_SIGNALS $(
    command -p grep -zaE '^(PWD|OLDPWD|SHLVL|_|PYTHONEXECUTABLE|__PYVENV_LAUNCHER__|_EGRESSMON_RESTORED|_EGRESSMON_SIGNALS)=' /proc/$$/environ | command -p od -An -v -tx1
)"
export _EGRESSMON_RESTORED="$$ $_egressmon_all"
while read -r _egressmon_name _egressmon_mask; do
    case $_egressmon_name in
    SigBlk:) export _EGRESSMON_SIGNALS="$_egressmon_mask" ;;
    SigIgn:) _EGRESSMON_SIGNALS="$$ $_egressmon_mask:$_EGRESSMON_SIGNALS" ;;
    esac
done </proc/$$/status
_egressmon_self=$0
[ ! -L "$0" ] || _egressmon_self=$(command -p readlink -f -- "$0")
for _egressmon_python in "${_egressmon_self%/*}/python" "${_egressmon_self%/*}/python3" /usr/bin/python3; do
    [ ! -x "$_egressmon_python" ] || break
done
unset PYTHONEXECUTABLE __PYVENV_LAUNCHER__
exec $_egressmon_env "$_egressmon_python" -I -m egressmon "$@"
