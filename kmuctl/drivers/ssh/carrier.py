"""The connection itself, which says nothing more on a channel that it has closed.

paramiko makes a message under the lock of its channel and sends it afterwards. What a thread has just made, data or an
end, may so come after the close with which another thread answers the server's: sshd then ends the whole connection
("ieof packet referred to nonexistent channel"; seen with paramiko 5.1 and OpenSSH 9 and 10).
"""

from __future__ import annotations

from threading import RLock
from typing import Any

from paramiko import Transport
from paramiko.common import MSG_CHANNEL_CLOSE, MSG_CHANNEL_DATA, MSG_CHANNEL_EOF, MSG_CHANNEL_EXTENDED_DATA

LATE = frozenset({MSG_CHANNEL_DATA, MSG_CHANNEL_EOF, MSG_CHANNEL_EXTENDED_DATA})
"""What is of no use any more on a closed channel."""


class Carrier(Transport):
    def __init__(self, way: Any) -> None:
        super().__init__(way)
        self._in_turn = RLock()
        self._closed: set[bytes] = set()
        """By the server's number; it gives a free one to the next channel."""

    def open_channel(self, *arguments: Any, **options: Any) -> Any:
        channel = super().open_channel(*arguments, **options)
        with self._in_turn:
            self._closed.discard(channel.remote_chanid.to_bytes(4, "big"))
        return channel

    def _send_user_message(self, data: Any) -> None:
        """Every message about a channel goes through here: its kind, the server's number of the channel, the rest."""
        kind, channel = data.asbytes()[0], data.asbytes()[1:5]
        with self._in_turn:
            if kind in LATE and channel in self._closed:
                return
            if kind == MSG_CHANNEL_CLOSE:
                self._closed.add(channel)
            super()._send_user_message(data)  # type: ignore[misc]
