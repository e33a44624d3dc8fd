"""Numbers as people read them."""

import pytest

from archiver_assets.cli.formatting import in_bytes, in_dollars, in_time, plural, some


@pytest.mark.parametrize(("number", "said"), [(0, "0 days"), (1, "1 day"), (2, "2 days"), (1_000, "1,000 days")])
def test_a_count_agrees_with_its_noun(number: int, said: str) -> None:
    assert plural(number, "day") == said


def test_an_irregular_plural_is_used_for_all_counts_but_one() -> None:
    assert [plural(number, "mismatch", "mismatches") for number in (0, 1, 2)] == ["0 mismatches", "1 mismatch", "2 mismatches"]


@pytest.mark.parametrize(
    ("size", "said"),
    [(0, "0 B"), (1023, "1,023 B"), (1024, "1.0 KiB"), (150 << 20, "150 MiB"), (3 << 30, "3.0 GiB"), (1 << 60, "1,024 PiB")],
)
def test_a_size_has_the_largest_unit_that_it_fills(size: int, said: str) -> None:
    assert in_bytes(size) == said


def test_a_price_below_half_a_cent_is_not_shown_as_nothing() -> None:
    assert [in_dollars(amount) for amount in (0, 0.004, 1.4)] == ["about 0.00 USD", "less than 0.01 USD", "about 1.40 USD"]


@pytest.mark.parametrize(("seconds", "said"), [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7_200, "2 h"), (172_800, "2 days")])
def test_a_length_of_time_has_a_unit_of_which_there_are_at_least_two(seconds: float, said: str) -> None:
    assert in_time(seconds) == said


def test_only_the_first_days_are_named() -> None:
    assert (some(["a", "b"]), some(["a", "b", "c", "d", "e"])) == ("a, b", "a, b, c and 2 more")
