from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from processors.aggregators.watch import MAX_GAPS, MISSED_MS, Watch
from schemas.metrics import SourceState


def word(state: str, *, node: str = "n", group: str = "peers") -> SourceState:
    return SourceState(node=node, collector="peers", group=group, state=state, since=0)  # type: ignore[arg-type]


def test_before_the_first_word_everything_is_watched() -> None:
    watch = Watch()
    assert watch.known_until(10**9) == 10**9
    assert watch.silence_ms(0, 10**9) == 10**9


def test_it_is_known_what_was_to_be_heard_up_to_the_last_word() -> None:
    watch = Watch()
    watch.hear(1_000, word("live"))
    assert (watch.known_until(900), watch.known_until(5_000)) == (900, 1_000)
    watch.hear(6_000, word("live"))
    assert watch.known_until(7_000) == 6_000
    assert watch.silence_ms(0, 6_000) == 6_000


def test_from_stale_to_live_again_is_a_gap() -> None:
    watch = Watch()
    watch.hear(1_000, word("live"))
    watch.hear(2_000, word("stale"))
    assert watch.known_until(9_000) == 2_000
    watch.hear(10_000, word("live"))
    assert watch.silence_ms(0, 11_000) == 3_000
    assert watch.silence_ms(5_000, 11_000) == 1_000
    assert watch.silence_ms(10_500, 11_000) == 500


def test_a_source_that_missed_a_word_was_last_there_with_its_last_one() -> None:
    watch = Watch()
    watch.hear(1_000, word("live"))
    watch.hear(8_499, word("live"))
    assert watch.silence_ms(0, 8_499) == 8_499
    watch.hear(15_999, word("live"))
    assert watch.silence_ms(0, 15_999) == 8_499


def test_what_comes_before_the_next_word_of_a_source_that_missed_one_says_nothing_of_the_time_between() -> None:
    watch = Watch()
    watch.hear(1_000, word("live"))
    assert watch.silence_ms(0, 8_499) == 8_499
    assert watch.silence_ms(0, 8_500) == 1_000
    assert watch.silence_ms(2_000, 8_500) == 0


def test_one_of_two_sources_is_enough() -> None:
    watch = Watch()
    watch.hear(1_000, word("live"))
    watch.hear(1_000, word("live", node="m"))
    watch.hear(2_000, word("down"))
    watch.hear(5_000, word("live", node="m"))
    assert watch.silence_ms(0, 5_000) == 5_000


def test_other_groups_watch_nobody() -> None:
    watch = Watch()
    watch.hear(1_000, word("live"))
    watch.hear(3_000, word("live", group="sync"))
    assert watch.known_until(4_000) == 1_000


def test_a_source_that_never_was_live_makes_no_gap() -> None:
    watch = Watch()
    watch.hear(1_000, word("down"))
    assert watch.known_until(5_000) == 5_000


def test_the_oldest_gap_is_forgotten_beyond_the_bound() -> None:
    watch = Watch()
    for number in range(MAX_GAPS + 2):
        watch.hear(20 * number, word("live"))
        watch.hear(20 * number + 10, word("stale"))
    assert watch.silence_ms(0, 20 * (MAX_GAPS + 1)) == 20 * (MAX_GAPS + 1) - 10 * MAX_GAPS


@given(
    st.lists(st.tuples(st.integers(0, 30_000), st.sampled_from(["live", "stale"])), max_size=50),
    st.integers(0, 200_000),
    st.integers(0, 200_000),
)
def test_what_was_watched_is_what_the_whole_history_of_words_gives(
    words: list[tuple[int, str]], since: int, length: int
) -> None:
    watch, now = Watch(), 0
    history: list[tuple[int, str]] = []
    for pause, state in words:
        now += pause
        watch.hear(now, word(state))
        history.append((now, state))
    until = watch.known_until(since + length)
    assert watch.silence_ms(since, until) == max(0, watched_ms(history, since, until))


def watched_ms(history: list[tuple[int, str]], since: int, until: int) -> int:
    """The same from every stretch between two words, one after the other."""
    spoken = [index for index, (_, state) in enumerate(history) if state == "live"]
    if not spoken:
        return until - since
    unwatched = 0
    heard = history[spoken[0] : spoken[-1] + 1]
    for (moment, state), (following, _) in pairwise(heard):
        if state != "live" or following - moment >= MISSED_MS:
            unwatched += max(0, min(following, until) - max(moment, since))
    return until - since - unwatched
