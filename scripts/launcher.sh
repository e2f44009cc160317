#!/bin/sh
# The command `egressmon` of a wheel: Python, isolated (-I) from its first instruction.
#
# An entry point as pip writes it starts Python without -I, and PYTHONPATH or a
# sitecustomize would have run before our first line. This shell's own changes to the
# environment are noted, so that the command does not get them (environment.py); two
# variables that Python reads even with -I are taken away, and the command's alone.
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
