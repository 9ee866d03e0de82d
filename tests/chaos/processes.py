"""What the kernel tells of a process."""


def stat_of(pid):
    """The fields of /proc/PID/stat behind the name, so that the state is the first. OSError."""
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rsplit(")", 1)[1].split()


def runs(pid):
    try:
        return stat_of(pid)[0] not in "ZX"
    except OSError:
        return False


def parent_of(pid):
    try:
        return int(stat_of(pid)[1])
    except (OSError, ValueError):
        return 0
