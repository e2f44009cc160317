"""What to say of containers that are to be watched, and are not there."""

from egressmon.text import printable

_MAX_SHOWN = 500


def not_there_yet(unmatched: list[str]) -> str:
    """Return the lines for whoever starts a sidecar for the containers `unmatched`."""
    return "".join(
        f"egressmon: no container matches --container {printable(one, _MAX_SHOWN)} "
        "yet: it is watched once it starts; the run is incomplete if it does not\n"
        for one in unmatched
    )


def never_there(wanted: str) -> str:
    """Return why a run is incomplete that saw no container that is `wanted`."""
    return f"no container matched --container {wanted}"
