"""Create the log, its head, its side tables and the wrapped keys.

Written with SQL names of its own, not with today's `schema` module: a released step must not change when the schema moves on.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_INDEX = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Apply this step."""
    _create_log()
    _create_side_tables()
    _create_keys()
    for table in ("log_record", "log_payload", "log_node", "log_checkpoint"):
        _make_append_only(table)


def _create_log() -> None:
    op.create_table(
        "log_head",
        sa.Column("log_no", sa.Integer, primary_key=True),
        sa.Column("log_id", sa.Text, nullable=False, unique=True),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("root", sa.LargeBinary, nullable=False),
        sa.Column("peaks", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.Text, nullable=False),
        sa.Column("predecessor", sa.LargeBinary),
    )
    op.create_table(
        "log_record",
        sa.Column("idx", _INDEX, primary_key=True, autoincrement=False),
        sa.Column("leaf_hash", sa.LargeBinary, nullable=False),
        sa.Column("header", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "log_payload",
        sa.Column("idx", _INDEX, primary_key=True, autoincrement=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "log_node",
        sa.Column("level", sa.Integer, primary_key=True),
        sa.Column("position", sa.BigInteger, primary_key=True),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sqlite_with_rowid=False,
    )


def _create_side_tables() -> None:
    op.create_table(
        "log_token",
        sa.Column("token", sa.LargeBinary, primary_key=True),
        sa.Column("idx", sa.BigInteger, primary_key=True),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "log_boot",
        sa.Column("boot_id", sa.Text, primary_key=True),
        sa.Column("node", sa.Text, nullable=False),
        sa.Column("started_at", sa.Text, nullable=False),
        sa.Column("scan_from", sa.BigInteger, nullable=False),
        sa.Column("probed_at", sa.Text),
    )
    op.create_table(
        "log_checkpoint",
        sa.Column("size", _INDEX, primary_key=True, autoincrement=False),
        sa.Column("note", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.Text, nullable=False),
    )


def _create_keys() -> None:
    op.create_table(
        "key_ring",
        sa.Column("kid", sa.Text, primary_key=True),
        sa.Column("version", sa.Integer, nullable=False, unique=True),
        sa.Column("wrapped", sa.LargeBinary, nullable=False),
        sa.Column("kek_id", sa.Text, nullable=False),
        sa.Column("created_at", sa.Text, nullable=False),
    )
    op.create_table(
        "key_patient",
        sa.Column("kid", sa.Text, primary_key=True),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("lookup", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("lookup_version", sa.Integer, nullable=False),
        sa.Column("kid_ring", sa.Text, nullable=False),
        sa.Column("wrapped", sa.LargeBinary),
        sa.Column("created_at", sa.Text, nullable=False),
        sa.Column("destroyed_at", sa.Text),
    )
    op.create_table(
        "key_period",
        sa.Column("kid", sa.Text, primary_key=True),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("month", sa.Text, nullable=False),
        sa.Column("kid_ring", sa.Text, nullable=False),
        sa.Column("wrapped", sa.LargeBinary),
        sa.Column("created_at", sa.Text, nullable=False),
        sa.Column("destroyed_at", sa.Text),
        sa.UniqueConstraint("tenant", "month", name="uq_key_period_tenant_month"),
    )
    op.create_table(
        "key_named",
        sa.Column("purpose", sa.Text, primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True),
        sa.Column("kid_ring", sa.Text, nullable=False),
        sa.Column("wrapped", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.Text, nullable=False),
    )


def _make_append_only(table: str) -> None:
    if op.get_bind().dialect.name != "sqlite":
        return  # PostgreSQL takes the privileges away instead
    for verb in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER {table}_refuses_{verb.lower()} BEFORE {verb} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        )
