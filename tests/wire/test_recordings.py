"""Every recorded exchange gives exactly the kinds that an independent reading says were billed, or the documentation says why not."""

import pytest

from wire.recorded import RECORDINGS, compare, explained, table


@pytest.mark.skipif(not RECORDINGS.exists(), reason="the recordings are not here")
def test_every_recorded_exchange_equals_what_was_billed() -> None:
    compared = compare()
    known = explained()

    wrong = [one.exchange.id for one in compared if not one.is_equal and one.exchange.id not in known]

    assert not wrong, table(compared)
    assert len(compared) > 3900
    assert known <= {one.exchange.id for one in compared if not one.is_equal}, "an exception that is none any more"
