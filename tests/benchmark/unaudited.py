"""A gateway whose log keeps nothing: for measuring what the log costs. No configuration of the product can do this."""

import socket
import sys
from collections.abc import Sequence

import uvicorn

from gateway.app import create_app
from gateway.audit.record import Receipt, RecordDraft
from gateway.config import load_settings


class NoLog:
    """Says that everything is durable."""

    async def append(self, drafts: Sequence[RecordDraft], _timeout_s: float) -> tuple[Receipt, ...]:
        """Keep nothing."""
        return tuple(Receipt(log_id="log-0000000000000000", index=0, leaf_hash=bytes(32), rid="0") for _ in drafts)

    def healthy(self) -> tuple[bool, str]:
        """Tell that all is well."""
        return True, ""

    async def aclose(self) -> bool:
        """Have nothing to write."""
        return True


async def open_nothing() -> NoLog:
    """Return a log that keeps nothing."""
    return NoLog()


if __name__ == "__main__":
    settings = load_settings()
    listener = socket.create_server((settings.server.host, settings.server.port))
    config = uvicorn.Config(
        create_app(settings, open_trail=open_nothing), loop="uvloop", http="httptools", lifespan="on", log_config=None, access_log=False,
        ws="none",
    )  # fmt: skip
    sys.exit(uvicorn.Server(config).run(sockets=[listener]))
