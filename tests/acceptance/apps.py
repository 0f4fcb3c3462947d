"""An app that only processes under test install: switches that the product does not have."""

from __future__ import annotations

import json
import os
from datetime import timedelta

from django.apps import AppConfig


class Switches(AppConfig):
    """What ACCEPTANCE_JSON says, for this process and all it forks.

    ``fault``: what is broken, see `sabotage.FAULTS`. ``lost_after``: seconds until a message
    is taken for lost.
    """

    name = "tests.acceptance"

    def ready(self) -> None:
        from ai_migration.engine import slots
        from tests.acceptance.sabotage import FAULTS

        switches = json.loads(os.environ["ACCEPTANCE_JSON"])
        slots.LOST_AFTER = timedelta(seconds=switches["lost_after"])
        self._fault = FAULTS[switches["fault"]]()  # kept: it would be undone with the last name
        self._fault.__enter__()
