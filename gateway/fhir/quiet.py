"""Keeps patient identifiers out of the logs of the HTTP libraries: their INFO and DEBUG lines hold whole URLs and headers."""

import logging

_TALKATIVE = ("httpx", "httpcore", "aiohttp", "aiohttp.client", "aiohttp.internal", "aiohttp.access", "aiohttp.server", "hpack", "h11")


class _SilenceArguments(logging.Filter):
    """Lets warnings and errors through, but only the name of the logger and of the exception: their arguments may hold a URL."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return False
        kind = record.exc_info[0] if record.exc_info else None
        record.msg = "the HTTP library reported %s"
        record.args = (kind.__name__ if kind else "a problem",)
        record.exc_info = None
        record.exc_text = None
        record.stack_info = None
        return True


_FILTER = _SilenceArguments()


def silence_http_loggers() -> None:
    """Raise the HTTP libraries' loggers to WARNING and strip what they say. Safe to call again."""
    for name in _TALKATIVE:
        logger = logging.getLogger(name)
        logger.setLevel(logging.WARNING)
        if _FILTER not in logger.filters:
            logger.addFilter(_FILTER)
