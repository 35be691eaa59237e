"""Bodies in chunks, with bounds on what Twisted's decoder takes without end (RFC 9112 section 7.1)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from twisted.web.http import _ChunkedTransferDecoder, _MalformedChunkedDataError

_TRAILER: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++:[^\r\n\x00]*+")
#: No chunk is larger, whatever its reader may take: what is said in more digits is meant to overflow somebody's number.
LARGEST: Final = 1 << 48


class Chunks(_ChunkedTransferDecoder):
    """A size that no number holds, and trailers that are no headers, or more than a head may have, are malformed.

    Trailers and chunk extensions say nothing to this relay; but a proxy before it may read them.
    """

    def __init__(self, data: Callable[[bytes], None], finished: Callable[[bytes], None], *, trailer_bytes: int) -> None:
        super().__init__(data, finished)
        self._maxTrailerHeadersSize = trailer_bytes

    def _dataReceived_CHUNK_LENGTH(self) -> bool:  # noqa: N802  Twisted's name
        whole = super()._dataReceived_CHUNK_LENGTH()
        if whole and self.length > LARGEST:
            raise _MalformedChunkedDataError("a chunk of that size is not meant")
        if not whole and b"\n" in self._buffer:
            raise _MalformedChunkedDataError("a line ends with CR LF")
        return whole

    def _dataReceived_TRAILER(self) -> bool:  # noqa: N802  Twisted's name
        going_on = super()._dataReceived_TRAILER()
        if self._trailerHeaders and not _TRAILER.fullmatch(self._trailerHeaders.pop()):
            raise _MalformedChunkedDataError("a trailer is not a header")
        return going_on
