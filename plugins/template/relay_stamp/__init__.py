"""A filter for a relay: every message gets a header, and messages for some agents are refused."""

from relay.extensions import Problem, replace


class Filter:
    def __init__(self, word, closed):
        self._word = word
        self._closed = closed

    def ingest(self, submission):
        if submission.agent in self._closed:
            raise Problem("forbidden", f"{submission.agent} is closed")
        return replace(submission, headers=(*submission.headers, ("x-stamp", self._word)))
