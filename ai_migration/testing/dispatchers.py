"""The contract of every dispatcher."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from django.core.checks import CheckMessage
from django.db import transaction

from ai_migration.dispatch import Dispatcher, WakeUp
from ai_migration.findings import Finding
from ai_migration.models.leases import our_database


class DispatcherContract:
    """Subclass it and define a fixture ``dispatcher`` that returns your dispatcher. One that
    supports messages also overrides :meth:`delivered`. Needs a database with the tables of
    ``ai_migration``, and real transactions."""

    @pytest.fixture
    def dispatcher(self) -> Dispatcher:
        raise NotImplementedError("Define a fixture 'dispatcher' that returns your dispatcher.")

    def delivered(self) -> Sequence[WakeUp]:
        """Return the messages that were delivered so far, in this test."""
        raise NotImplementedError("Define 'delivered': the messages that were delivered.")

    def test_is_made_without_arguments(self, dispatcher: Dispatcher) -> None:
        assert type(type(dispatcher)()) is type(dispatcher)

    def test_waking_is_a_hint(self, dispatcher: Dispatcher) -> None:
        dispatcher.wake()
        dispatcher.wake()
        with transaction.atomic(using=our_database()):
            dispatcher.wake()

    def test_a_process_may_be_prepared_twice(self, dispatcher: Dispatcher) -> None:
        dispatcher.prepare()
        dispatcher.prepare()

    def test_nothing_is_being_stopped(self, dispatcher: Dispatcher) -> None:
        assert dispatcher.is_stopping() is False

    def test_check_lists_messages(self, dispatcher: Dispatcher) -> None:
        messages = dispatcher.check()
        assert all(isinstance(message, CheckMessage) and message.id for message in messages)

    def test_says_what_is_wrong(self, dispatcher: Dispatcher) -> None:
        for diagnosis in dispatcher.diagnoses(0):
            for finding in diagnosis.run():
                assert isinstance(finding, Finding)
                assert finding.name
                assert finding.fact

    def test_installing_twice_is_once(self, dispatcher: Dispatcher) -> None:
        if not dispatcher.supports_schedules:
            assert not dispatcher.install()
            return
        assert dispatcher.install() is True
        assert dispatcher.install() is False

    def test_a_message_is_delivered_once_its_transaction_is_committed(
        self, dispatcher: Dispatcher
    ) -> None:
        message = WakeUp(1, 7)
        with transaction.atomic(using=our_database()):
            dispatcher.send(message)
        if dispatcher.supports_messages:
            assert list(self.delivered()) == [message]

    def test_a_message_of_a_transaction_that_fails_is_not_delivered(
        self, dispatcher: Dispatcher
    ) -> None:
        with transaction.atomic(using=our_database()):
            dispatcher.send(WakeUp(1, 7))
            transaction.set_rollback(True, using=our_database())
        if dispatcher.supports_messages:
            assert list(self.delivered()) == []

    def test_a_canary_can_be_sent(self, dispatcher: Dispatcher) -> None:
        dispatcher.send_canary(1_700_000_000_000_000)
