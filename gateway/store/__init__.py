"""The one database door: where the file may lie, how it is opened, which tables it has. Nobody else opens a database."""

from gateway.store.database import Database, StoreError, open_database
from gateway.store.log_table import LogConnection, LogHead, LogRow

__all__ = ["Database", "LogConnection", "LogHead", "LogRow", "StoreError", "open_database"]
