"""Everything that the relay asks of a store, asked of this one on a real server."""

from __future__ import annotations

from tests.contract.test_callbacks import *  # noqa: F403 - the tests themselves
from tests.contract.test_delivery_contract import *  # noqa: F403 - the tests themselves
from tests.contract.test_store import *  # noqa: F403 - the tests themselves
