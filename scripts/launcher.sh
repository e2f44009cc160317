#!/bin/sh
# The command `egressmon` of a wheel: Python, isolated (-I) from its first instruction.
#
# The entry points that pip writes start Python without -I: code from PYTHONPATH or a
# sitecustomize would run before our first line. This shell changes the environment (and
# some shells drop what is no name of theirs), so the whole of it is noted before, and
# startup/environment.py restores it for the command; of a huge one, what shells change.
# Python ignores signals of its own: those that the caller ignores are noted, too.
# Two variables that Python reads even with -I are removed here, and also restored.
if [ -z "${_EGRESSMON_RESTORED-}" ]; then
    export _EGRESSMON_RESTORED="* $(command -p od -An -v -tx1 /proc/$$/environ)"
    [ ${#_EGRESSMON_RESTORED} -lt 130000 ] || _EGRESSMON_RESTORED="PWD,OLDPWD,SHLVL,_,PYTHONEXECUTABLE,__PYVENV_LAUNCHER__ $(
        command -p grep -zaE '^(PWD|OLDPWD|SHLVL|_|PYTHONEXECUTABLE|__PYVENV_LAUNCHER__)=' /proc/$$/environ | command -p od -An -v -tx1
    )"
    while read -r _egressmon_name _egressmon_mask; do
        [ "$_egressmon_name" != SigIgn: ] || export _EGRESSMON_IGNORED="$_egressmon_mask"
    done </proc/$$/status
fi
_egressmon_self=$0
[ ! -L "$0" ] || _egressmon_self=$(command -p readlink -f -- "$0")
for _egressmon_python in "${_egressmon_self%/*}/python" "${_egressmon_self%/*}/python3" /usr/bin/python3; do
    [ ! -x "$_egressmon_python" ] || break
done
unset PYTHONEXECUTABLE __PYVENV_LAUNCHER__
exec "$_egressmon_python" -I -m egressmon "$@"
