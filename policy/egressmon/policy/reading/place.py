"""Find and read a policy file, and tell who could have written it.

A policy decides what is allowed, so a file is refused if anybody but root and the user
could have written, placed or replaced it. All checks are made on the open descriptor
that is then read, so that nobody can exchange the file in between.
"""

import contextlib
import errno
import grp
import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path

from egressmon.policy.errors import PolicyError
from egressmon.values import dataclass

MAX_BYTES = 1 << 20

_REPOSITORIES = (".git", ".hg", ".svn", ".jj", ".bzr", "_darcs", ".fslckout")
_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
# O_NONBLOCK: does not wait for a pipe's writer. O_NOCTTY: takes no terminal.
READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
"""The flags to open a file with that is to be read as a policy."""


@dataclass(frozen=True, slots=True)
class PolicyFile:
    """A policy file's path, and its content."""

    path: Path
    data: bytes
    warning: str | None = None
    """Who besides the user could have written the file, if the user named it."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file that may hold a policy; `problem` says why it is not to be trusted."""

    path: Path
    data: bytes
    problem: str | None


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of the search; `descriptor` is open only until the next one is taken."""

    path: Path
    descriptor: int
    others: str | None
    """Who besides the user can write into it, or into a folder nearer to the start."""


def trusted_owners() -> frozenset[int]:
    """Return the uids whose files are trusted: root's, and the caller's own."""
    return frozenset({0, os.getuid(), os.geteuid()})


def folders(start: Path, trusted: frozenset[int]) -> Iterator[Folder]:
    """Yield `start` and then each folder above it, in which to search for a policy.

    The last is the root of the repository, the home folder, or the root of the file
    system. `trusted` are the uids that may write into them (see `Folder.others`).
    """
    path, others = start, None
    end = {_home(), _identity(Path("/").stat())}
    descriptor = os.open(start, _FOLDER)
    try:
        device = os.fstat(descriptor).st_dev
        while True:
            others = others or who_else(path, descriptor, trusted)
            yield Folder(path, descriptor, others)
            found = os.fstat(descriptor)
            if _identity(found) in end or _is_repository(descriptor):
                return
            try:
                above = os.open("..", _FOLDER, dir_fd=descriptor)
            except OSError:
                return  # the user may not look into the folder above
            os.close(descriptor)
            descriptor, path = above, path.parent
            if os.fstat(descriptor).st_dev != device:
                return
    finally:
        os.close(descriptor)


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


# From the account and not from $HOME, which sudo may leave as another user's.
def _home() -> tuple[int, int] | None:
    try:
        return _identity(Path(pwd.getpwuid(os.geteuid()).pw_dir).stat())
    except (KeyError, OSError):
        return None


# `.git` is a folder, or a file in a worktree or submodule: any kind will do.
def _is_repository(descriptor: int) -> bool:
    for name in _REPOSITORIES:
        with contextlib.suppress(OSError):
            os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            return True
    return False


def who_else(path: Path, descriptor: int, trusted: frozenset[int]) -> str | None:
    """Return who besides the uids `trusted` can write what `descriptor` has open.

    The answer is a sentence that calls it `path`, or None if nobody can.
    """
    found = os.fstat(descriptor)
    if found.st_uid not in trusted:
        return f"{path} is owned by {_user_name(found.st_uid)}"
    if found.st_mode & stat.S_IWOTH:
        return f"{path} can be written by everybody"
    if found.st_mode & stat.S_IWGRP and not _is_private(
        descriptor, found.st_gid, trusted
    ):
        return f"{path} can be written by the group {_group_name(found.st_gid)}"
    return None


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return f"gid {gid}"


# Where each user has a private group (Debian, Fedora), umask 002 is common, and a file
# that the group can write is one that only the user can. Not if there is an access
# control list: then the group's bits are its mask, which also covers others (acl(5)).
def _is_private(descriptor: int, gid: int, trusted: frozenset[int]) -> bool:
    with contextlib.suppress(OSError):
        # Through /proc: fgetxattr(2) does not work on a descriptor of O_PATH.
        os.getxattr(f"/proc/self/fd/{descriptor}", "system.posix_acl_access")
        return False
    try:
        group = grp.getgrgid(gid)
        owner = pwd.getpwnam(group.gr_name)
    except KeyError:
        return False
    if owner.pw_uid not in trusted or owner.pw_gid != gid:
        return False
    sharing = (one.pw_uid for one in pwd.getpwall() if one.pw_gid == gid)
    return set(group.gr_mem) <= {owner.pw_name} and set(sharing) <= {owner.pw_uid}


def read_in(folder: Folder, name: str, trusted: frozenset[int]) -> Candidate | None:
    """Return the file `name` in `folder`, or None if there is none.

    Raises PolicyError if it is not a regular file, or cannot be read.
    """
    path = folder.path / name
    try:
        link = os.stat(name, dir_fd=folder.descriptor, follow_symlinks=False)
    except (FileNotFoundError, PermissionError):
        return None  # PermissionError: the user may not look into the folder
    except OSError as error:
        raise _unreadable(path, error) from error
    flags = READ if stat.S_ISLNK(link.st_mode) else READ | os.O_NOFOLLOW
    try:
        descriptor = os.open(name, flags, dir_fd=folder.descriptor)
    except OSError as error:
        raise _unreadable(path, error) from error
    try:
        _refuse_irregular(path, os.fstat(descriptor))
        problem = who_else(path, descriptor, trusted) or folder.others
        if stat.S_ISLNK(link.st_mode):
            problem = problem or _of_link(path, link, descriptor, trusted)
        return Candidate(path, _bytes(path, descriptor), problem)
    finally:
        os.close(descriptor)


# Whoever owns a link, or can write into its target's folder, decides what is read.
def _of_link(
    path: Path, link: os.stat_result, descriptor: int, trusted: frozenset[int]
) -> str | None:
    if link.st_uid not in trusted:
        return f"{path} is a link of {_user_name(link.st_uid)}'s"
    try:
        target = Path(f"/proc/self/fd/{descriptor}").readlink().parent
        folder = os.open(target, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return f"{path} is a link, and its target is gone"
    try:
        return who_else(target, folder, trusted)
    finally:
        os.close(folder)


def read_named(path: Path, trusted: frozenset[int]) -> PolicyFile:
    """Return the file at `path`, which the user named; raises PolicyError.

    The user may choose a file that others can write, and is warned of it; but one that
    everybody can write is refused. The user is warned of who can replace it, too.
    """
    try:
        descriptor = os.open(path, READ)
    except OSError as error:
        raise _unreadable(path, error) from error
    try:
        return read_open(path, descriptor, trusted)
    finally:
        os.close(descriptor)


# Of the folder in which the file was named, and of the one in which it is. A sticky bit
# helps here: nobody can remove what is there, and what is added is not what was named.
def _of_folders(path: Path, descriptor: int, trusted: frozenset[int]) -> str | None:
    real = path
    with contextlib.suppress(OSError):
        real = Path(f"/proc/self/fd/{descriptor}").readlink()
    for parent in dict.fromkeys((path.absolute().parent, real.parent)):
        try:
            folder = os.open(parent, _FOLDER)
        except OSError:
            continue  # it was removed, or the caller may not look
        try:
            found = os.fstat(folder)
            if not (found.st_mode & stat.S_ISVTX and found.st_uid in trusted) and (
                others := who_else(parent, folder, trusted)
            ):
                return others
        finally:
            os.close(folder)
    return None


def read_open(path: Path, descriptor: int, trusted: frozenset[int]) -> PolicyFile:
    """Return the file that `descriptor` has open, as `read_named` does."""
    found = os.fstat(descriptor)
    _refuse_irregular(path, found)
    if found.st_mode & stat.S_IWOTH:
        raise PolicyError(
            f"{path}: not used: everybody can write it",
            f"review it, and then: chmod o-w {path}",
        )
    problem = who_else(path, descriptor, trusted)
    problem = problem or _of_folders(path, descriptor, trusted)
    return PolicyFile(path, _bytes(path, descriptor), problem)


def _refuse_irregular(path: Path, found: os.stat_result) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise _unreadable(path, OSError(errno.EISDIR, os.strerror(errno.EISDIR)))
    if not stat.S_ISREG(found.st_mode):
        raise PolicyError(f"{path}: not a regular file", "name a policy file")


def _bytes(path: Path, descriptor: int) -> bytes:
    parts: list[bytes] = []
    left = MAX_BYTES + 1
    try:
        while left and (part := os.read(descriptor, left)):
            parts.append(part)
            left -= len(part)
    except OSError as error:
        raise _unreadable(path, error) from error
    if not left:
        raise PolicyError(f"{path}: larger than 1 MiB", "name a policy file")
    return b"".join(parts)


def _unreadable(path: Path, error: OSError) -> PolicyError:
    return PolicyError(
        f"{path}: {error.strerror}", "name a policy file that can be read"
    )
