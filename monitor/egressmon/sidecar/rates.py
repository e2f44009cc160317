"""How often something may happen: in a burst, and on the average."""

import math

_MAX_USERS = 64


class Rate:
    """At most `burst` at once, and `each_s` a second in the long run.

    Times are monotonic, in seconds.
    """

    def __init__(self, each_s: float, burst: int) -> None:
        self._each_s = each_s
        self._burst = burst
        self._left = float(burst)
        self._at = -math.inf

    def take(self, now: float) -> bool:
        """Count one, and return True; or return False if it has to wait."""
        self._refill(now)
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def wait_s(self, now: float) -> float:
        """Return the seconds until the next one may be; 0: it may now."""
        self._refill(now)
        return max(0.0, (1 - self._left) / self._each_s)

    def is_idle(self, now: float) -> bool:
        """Tell whether there has been nothing for so long that it may be forgotten."""
        self._refill(now)
        return self._left >= self._burst

    def _refill(self, now: float) -> None:
        if now > self._at:
            gone = now - self._at if math.isfinite(self._at) else math.inf
            self._left = min(float(self._burst), self._left + gone * self._each_s)
            self._at = now


class UserRates:
    """A rate for each user; too many users share one."""

    def __init__(self, each_s: float, burst: int) -> None:
        self._each_s = each_s
        self._burst = burst
        self._rates: dict[int, Rate] = {}
        self._others = Rate(each_s, burst)

    def take(self, uid: int, now: float) -> bool:
        """Count one of the user `uid`, and return True; or False if it has to wait."""
        rate = self._rates.get(uid)
        if rate is None:
            if len(self._rates) >= _MAX_USERS:
                self._rates = {
                    user: one
                    for user, one in self._rates.items()
                    if not one.is_idle(now)
                }
            if len(self._rates) >= _MAX_USERS:
                return self._others.take(now)
            rate = self._rates[uid] = Rate(self._each_s, self._burst)
        return rate.take(now)
