import pytest

from processors.collectors.duty import ChunkSize, Duty


def test_a_burst_is_free_and_what_is_beyond_it_waits_until_it_is_worked_off() -> None:
    duty = Duty(0.05, 0.25)
    duty.spend(100.0, 0.2)
    assert duty.wait_s(100.0) == 0
    duty.spend(100.0, 0.1)
    assert duty.wait_s(100.0) == pytest.approx(1)
    assert duty.wait_s(100.6) == pytest.approx(0.4)
    assert duty.wait_s(101.01) == 0


def test_rest_is_saved_up_to_the_burst_only() -> None:
    duty = Duty(0.05, 0.25)
    duty.spend(0.0, 0.25)
    duty.spend(1_000.0, 0.35)
    assert duty.wait_s(1_000.0) == pytest.approx(2)


def test_a_machine_that_stood_still_is_not_paid_for_at_length() -> None:
    duty = Duty(0.05, 0.25)
    duty.spend(0.0, 3_600.0)
    assert duty.wait_s(0.0) == pytest.approx(10)


def test_over_a_long_stretch_work_takes_its_share() -> None:
    duty = Duty(0.05, 0.25)
    now = worked = 0.0
    while now < 100:
        now += duty.wait_s(now) + 0.003
        worked += 0.003
        duty.spend(now, 0.003)
    assert worked == pytest.approx(5.25, abs=0.05)


def test_chunks_become_as_large_as_three_milliseconds_allow() -> None:
    chunk = ChunkSize()
    for _ in range(20):
        chunk.took(chunk.rows * 2e-6, chunk.rows)
    assert 1_000 < chunk.rows <= 1_500


def test_a_chunk_that_ended_early_does_not_make_the_next_one_larger() -> None:
    chunk = ChunkSize()
    before = chunk.rows
    chunk.took(1e-5, before - 1)
    assert chunk.rows == before


def test_a_failure_halves_the_chunk_down_to_one_row() -> None:
    chunk = ChunkSize()
    for _ in range(20):
        chunk.failed()
    assert chunk.rows == 1
    chunk.took(1e-5, 1)
    assert chunk.rows == 2
