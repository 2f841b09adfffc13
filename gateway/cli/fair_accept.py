"""Several processes on one listening socket, each taking its share of the connections.

Left alone, whichever process wakes first takes all that wait: of eight connections one process took seven, and the other cores stood idle.
So a process takes one connection at a time, and waits a moment for each that it holds already: who holds fewer comes first.
"""

import asyncio
import errno
import socket
from collections.abc import Callable
from typing import cast

import uvicorn

WAIT_S = 0.0005  # for each connection held; longer than an idle process takes to accept one
WAIT_S_MAX = 0.005
FULL_WAIT_S = 1.0  # until the next try, where the process has no descriptor left
_FULL = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class FairServer(uvicorn.Server):
    """A server whose listening socket is shared with other processes."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, then take connections from the sockets."""
        await super().startup(sockets=[])
        doors = [Door(one, self._make_protocol, lambda: len(self.server_state.connections)) for one in sockets or []]
        self.servers += cast("list[asyncio.Server]", doors)  # uvicorn closes them and waits for them, and does no more

    def _make_protocol(self) -> asyncio.Protocol:
        make = cast("Callable[..., asyncio.Protocol]", self.config.http_protocol_class)
        return make(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)


class Door:
    """Accepts on a listening socket that others accept on as well. Belongs to the event loop that made it."""

    def __init__(self, listener: socket.socket, make_protocol: Callable[[], asyncio.BaseProtocol], held: Callable[[], int]) -> None:
        """`held` tells how many connections this process holds."""
        self._listener = listener
        self._make_protocol = make_protocol
        self._held = held
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._opening: set[asyncio.Task[object]] = set()
        listener.settimeout(0)
        self._watch()

    def close(self) -> None:
        """Take no more connections."""
        self._loop.remove_reader(self._listener)
        if self._timer is not None:
            self._timer.cancel()

    async def wait_closed(self) -> None:
        """Wait until what was accepted has been handed over."""
        await asyncio.gather(*self._opening, return_exceptions=True)

    def _watch(self) -> None:
        self._timer = None
        self._loop.add_reader(self._listener, self._somebody_waits)

    def _somebody_waits(self) -> None:
        held = self._held() + len(self._opening)
        if held == 0:
            self._accept()
            return
        self._loop.remove_reader(self._listener)
        self._timer = self._loop.call_later(min(held * WAIT_S, WAIT_S_MAX), self._accept_and_watch)

    def _accept_and_watch(self) -> None:
        self._watch()
        self._accept()

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # another process was quicker, or the client has left
        except OSError as error:
            if error.errno not in _FULL:
                raise
            self._loop.remove_reader(self._listener)
            self._timer = self._loop.call_later(FULL_WAIT_S, self._watch)
            return
        task: asyncio.Task[object] = self._loop.create_task(self._open(connection))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open(self, connection: socket.socket) -> None:
        await self._loop.connect_accepted_socket(self._make_protocol, connection)
