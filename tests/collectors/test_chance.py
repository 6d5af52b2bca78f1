import random
import statistics

from processors.collectors.chance import Chance


def test_between_reaches_the_least_and_never_the_most() -> None:
    chance = Chance(random.Random(1).random)
    assert {chance.between(2, 5) for _ in range(100)} == {2, 3, 4}


def test_exponential_pauses_have_their_mean_and_are_never_nothing() -> None:
    chance = Chance(random.Random(1).random)
    pauses = [chance.exponential(1_000) for _ in range(10_000)]
    assert min(pauses) >= 1
    assert 950 < statistics.mean(pauses) < 1_050


def test_exponential_takes_every_number_that_random_gives() -> None:
    assert Chance(lambda: 0.0).exponential(1_000) == 1
    assert Chance(lambda: 1 - 2**-53).exponential(1_000) < 100_000


def test_normal_numbers_have_mean_0_and_deviation_1() -> None:
    chance = Chance(random.Random(1).random)
    numbers = [chance.normal() for _ in range(10_000)]
    assert abs(statistics.mean(numbers)) < 0.05
    assert 0.95 < statistics.stdev(numbers) < 1.05
