"""New releases in a serving gateway: loaded, tested and warmed beside the old ones, and only then asked.

A signal (SIGHUP) asks for it. A release that is refused changes nothing; requests in work end by what they began with.
"""

import asyncio
import contextlib
import gc
import signal
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Generic, Protocol, TypeVar

from gateway.config import Settings
from gateway.errors import ModelRefused
from gateway.inference.runtime import Runtime
from gateway.telemetry import count_reload, get_logger

_log = get_logger("gateway.takeover")


class Serving(Protocol):
    """What is open while a gateway serves."""

    @property
    def settings(self) -> Settings:
        """Return the settings."""
        ...

    @property
    def runtime(self) -> Runtime:
        """Return what runs the models."""
        ...

    @property
    def versions(self) -> str:
        """Return the models that are served, each with its version."""
        ...


S = TypeVar("S", bound=Serving)


class Takeover(Generic[S]):
    """Lets new releases take over in a serving gateway: all of them at once, or none."""

    def __init__(self, running: S, load: Callable[[S], Awaitable[S]], mount: Callable[[S], None]) -> None:
        """`load`: loads the releases anew beside what it is given, and starts them; raises when one is refused.

        `mount`: lets every route answer from now on by what it is given; requests in work end by what they began with.
        """
        self.loop = asyncio.get_running_loop()  # the one that serves
        self._running = running
        self._load = load
        self._mount = mount
        self._lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[object]] = set()
        self._runtimes: list[Runtime] = []

    async def reload(self) -> bool:
        """Load the folder of releases anew; tell whether it took over."""
        async with self._lock:
            try:
                newer = await self._load(self._running)
                self._runtimes.append(newer.runtime)
                self._mount(newer)
            except ModelRefused as refusal:
                _log.error("releases are refused, those served stay", reason=str(refusal)[:300])
                count_reload("refused")
                return False
            except Exception:  # noqa: BLE001 - whatever it was, nothing has changed, and the log and the metric say so
                _log.exception("releases cannot be loaded, those served stay")
                count_reload("refused")
                return False
            before, self._running = self._running, newer
            self._keep(self._close_later(before))
            _log.info("releases have taken over", models=newer.versions)
            count_reload("taken-over")
            return True

    @contextlib.contextmanager
    def on_signal(self) -> Iterator[None]:
        """Reload on SIGHUP, where this thread may listen for signals."""
        loop = asyncio.get_running_loop()
        try:
            loop.add_signal_handler(signal.SIGHUP, lambda: self._keep(self.reload()))
        except (NotImplementedError, RuntimeError, ValueError):
            yield
            return
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGHUP)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)  # while the last requests are answered

    async def aclose(self) -> None:
        """Close what took over, and what was still waiting for its last requests."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*[runtime.aclose() for runtime in self._runtimes])

    def _keep(self, work: Coroutine[object, object, object]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _close_later(self, before: S) -> None:
        """Let go of what was served when no request can be in work with it any more."""
        server = before.settings.server
        await asyncio.sleep(max(server.deadline_rest_s, server.deadline_cds_s) + before.settings.audit.wait_s_max)
        await before.runtime.aclose()
        if before.runtime in self._runtimes:
            self._runtimes.remove(before.runtime)
        gc.unfreeze()  # what is gone is collected, what stays is never scanned again
        gc.collect()
        gc.freeze()
