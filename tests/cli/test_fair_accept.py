"""Several processes on one listening socket: each takes its share of the connections, and none is lost."""

import asyncio
import contextlib
import socket

import pytest

from gateway.cli.fair_accept import Door

CONNECTIONS = 12


class Greeting(asyncio.Protocol):
    """Says its process's name, and keeps the connection."""

    def __init__(self, name: bytes, held: set) -> None:
        self.name, self.held = name, held

    def connection_made(self, transport) -> None:
        self.transport = transport
        self.held.add(transport)
        transport.write(self.name)

    def connection_lost(self, _exc) -> None:
        self.held.discard(self.transport)


@contextlib.asynccontextmanager
async def doors(names):
    """Give the address of a listening socket behind which each name has a door, as each server process has."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    held = {name: set() for name in names}
    made = [Door(listener.dup(), lambda name=name: Greeting(name, held[name]), lambda name=name: len(held[name])) for name in names]
    yield listener.getsockname(), made
    for door in made:
        door.close()
        await door.wait_closed()
        door._listener.close()
    listener.close()


async def greet(address):
    reader, writer = await asyncio.open_connection(*address)
    return await reader.readexactly(1), writer


@pytest.mark.asyncio
@pytest.mark.parametrize("at_once", [True, False], ids=["all at once", "one after another"])
async def test_connections_are_shared_evenly(*, at_once: bool) -> None:
    """Twelve connections that stay open, two processes: neither holds more than seven, whether they come together or in turn."""
    async with doors([b"a", b"b"]) as (address, _):
        if at_once:
            greeted = await asyncio.gather(*[greet(address) for _ in range(CONNECTIONS)])
        else:
            greeted = [await greet(address) for _ in range(CONNECTIONS)]
        by_name = [name for name, _ in greeted]
        assert by_name.count(b"a") + by_name.count(b"b") == CONNECTIONS
        assert max(by_name.count(b"a"), by_name.count(b"b")) <= 7
        for _, writer in greeted:
            writer.close()


@pytest.mark.asyncio
async def test_a_closed_door_takes_no_more_and_leaves_the_rest_to_the_other() -> None:
    """A process that ends gracefully stops to accept at once; whoever comes later is served by the others."""
    async with doors([b"a", b"b"]) as (address, (first, _)):
        first.close()
        greeted = [await greet(address) for _ in range(4)]
        assert [name for name, _ in greeted] == [b"b"] * 4
        for _, writer in greeted:
            writer.close()


@pytest.mark.asyncio
async def test_without_a_descriptor_the_door_waits_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """EMFILE once: the connection that waits is taken a moment later, not lost, and the loop does not spin."""
    monkeypatch.setattr("gateway.cli.fair_accept.FULL_WAIT_S", 0.05)

    class Full:
        """A listening socket of a process without descriptors, the first time."""

        tries = 0

        def __init__(self, listener) -> None:
            self.listener = listener

        def accept(self):
            Full.tries += 1
            if Full.tries == 1:
                raise OSError(24, "too many open files")
            return self.listener.accept()

        def __getattr__(self, name):
            return getattr(self.listener, name)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        held: set = set()
        door = Door(Full(listener), lambda: Greeting(b"x", held), lambda: len(held))
        name, writer = await asyncio.wait_for(greet(listener.getsockname()), 5)
        assert (name, Full.tries) == (b"x", 2)
        writer.close()
        door.close()
