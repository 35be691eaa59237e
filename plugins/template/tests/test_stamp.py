import pytest

from relay.extensions import Form, Problem, SettingsError, Submission
from relay.plugins.stamp import stamp


def message(agent):
    return Submission(agent, b'"hello"', "application/json", Form.JSON, wait=5.0)


def test_a_message_is_stamped():
    filter = stamp.filter(stamp.read({"word": "seen"}), relay=None)
    assert filter.ingest(message("desk-1")).headers == (("x-stamp", "seen"),)


def test_a_message_for_a_closed_agent_is_refused():
    filter = stamp.filter(stamp.read({"word": "seen", "closed": ["desk-1"]}), relay=None)
    with pytest.raises(Problem, match="desk-1 is closed"):
        filter.ingest(message("desk-1"))


@pytest.mark.parametrize("table", [{}, {"word": "Two Words"}, {"word": "seen", "clsoed": ["desk-1"]}])
def test_settings_that_make_no_sense_are_refused(table):
    with pytest.raises(SettingsError):
        stamp.read(table)
