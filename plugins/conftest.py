"""The plugins' tests are held to what all others are: nothing unhandled, no timer left, in CI no skip."""

from tests.conftest import (  # noqa: F401  fixtures and hooks are found by their names
    logged_failures,
    no_timer_is_left,
    pytest_make_collect_report,
    pytest_runtest_makereport,
)
