#!/bin/sh
# The command `egressmon` of a wheel: Python, isolated (-I) from its first instruction.
#
# The entry points that pip writes start Python without -I: code from PYTHONPATH or a
# sitecustomize would run before our first line. This shell changes the environment, so the
# variables concerned are noted, and startup/environment.py restores them for the command.
# Two variables that Python reads even with -I are removed here, and also restored.
self=$0
[ ! -L "$self" ] || self=$(command -p readlink -f -- "$self")
for python in "${self%/*}/python" "${self%/*}/python3" /usr/bin/python3; do
    [ ! -x "$python" ] || break
done
[ -n "${_EGRESSMON_RESTORED-}" ] || export _EGRESSMON_RESTORED="PWD,OLDPWD,SHLVL,_,PYTHONEXECUTABLE,__PYVENV_LAUNCHER__ $(
    command -p grep -zaE '^(PWD|OLDPWD|SHLVL|_|PYTHONEXECUTABLE|__PYVENV_LAUNCHER__)=' /proc/$$/environ | command -p od -An -v -tx1
)"
unset PYTHONEXECUTABLE __PYVENV_LAUNCHER__
exec "$python" -I -m egressmon "$@"
