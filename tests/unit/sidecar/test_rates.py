"""A burst, and then so many a second; users do not take each other's."""

from egressmon.sidecar.rates import Rate, UserRates


def test_a_burst_and_then_so_many_a_second() -> None:
    rate = Rate(10, 3)

    assert [rate.take(5.0) for _ in range(4)] == [True, True, True, False]
    assert 0 < rate.wait_s(5.0) <= 0.1
    assert rate.take(5.11)
    assert not rate.take(5.11)
    assert [rate.take(100.0) for _ in range(4)] == [True, True, True, False]


def test_a_clock_that_stands_still_or_goes_back_gives_nothing() -> None:
    rate = Rate(10, 1)

    assert rate.take(5.0)
    assert not rate.take(5.0)
    assert not rate.take(1.0)


def test_users_have_a_rate_each() -> None:
    rates = UserRates(1, 1)

    assert rates.take(1, 0.0)
    assert not rates.take(1, 0.0)
    assert rates.take(2, 0.0)


def test_too_many_users_share_one_and_take_no_more_memory() -> None:
    rates = UserRates(1, 1)

    taken = [rates.take(uid, 0.0) for uid in range(1000)]

    assert taken.count(True) == 65
    assert rates.take(5000, 2.0)  # those before are idle by now
