"""Both signals end a command, whichever handler hears them."""

import signal

import pytest

from archiver_assets.cli.interrupts import stoppable


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_both_signals_raise_and_are_remembered(sent: signal.Signals) -> None:
    with stoppable() as stopped:
        assert not stopped()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(sent)
        assert stopped()


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_another_handler_swallows_is_remembered(sent: signal.Signals) -> None:
    with stoppable() as stopped:
        before = signal.signal(sent, lambda *_: None)
        signal.raise_signal(sent)
        signal.signal(sent, before)
        assert stopped()
        assert not stopped()


def test_afterwards_everything_is_as_it_was() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stoppable():
        pass
    assert signal.getsignal(signal.SIGTERM) is before
    assert signal.set_wakeup_fd(-1) == -1
