"""The tables, as SQLAlchemy Core sees them. The migrations create them; a test proves that both say the same.

`log_record` and `log_payload` are append-only: triggers refuse UPDATE and DELETE. A payload lies apart from its header so that it can be
removed one day (retention) while the header, and with it every proof, stays. `log_token` lies apart because shredding a patient removes
the tokens. `log_node` holds the hash of every completed subtree of 2^8, 2^16, ... leaves, as in C2SP tlog-tiles: everything between is
recomputed from at most 256 leaf hashes.
"""

import sqlalchemy as sa

metadata = sa.MetaData()

_INDEX = sa.BigInteger().with_variant(sa.Integer, "sqlite")  # SQLite: the row id itself, so the table needs no second tree

log_head = sa.Table(
    "log_head",
    metadata,
    sa.Column("log_no", sa.Integer, primary_key=True),  # always 1: one database holds one log
    sa.Column("log_id", sa.Text, nullable=False, unique=True),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("root", sa.LargeBinary, nullable=False),  # RFC 6962 tree head of `size` leaves
    sa.Column("peaks", sa.LargeBinary, nullable=False),  # roots of the perfect subtrees of `size` leaves, largest first, 32 bytes each
    sa.Column("created_at", sa.Text, nullable=False),
    sa.Column("predecessor", sa.LargeBinary),  # tree head of the log that this one continues after a restore
)

log_record = sa.Table(
    "log_record",
    metadata,
    sa.Column("idx", _INDEX, primary_key=True, autoincrement=False),
    sa.Column("leaf_hash", sa.LargeBinary, nullable=False),
    sa.Column("header", sa.LargeBinary, nullable=False),
)

log_payload = sa.Table(
    "log_payload",
    metadata,
    sa.Column("idx", _INDEX, primary_key=True, autoincrement=False),
    sa.Column("payload", sa.LargeBinary, nullable=False),
)

log_node = sa.Table(
    "log_node",
    metadata,
    sa.Column("level", sa.Integer, primary_key=True),
    sa.Column("position", sa.BigInteger, primary_key=True),
    sa.Column("hash", sa.LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

log_token = sa.Table(
    "log_token",
    metadata,
    sa.Column("token", sa.LargeBinary, primary_key=True),
    sa.Column("idx", sa.BigInteger, primary_key=True),
    sqlite_with_rowid=False,
)

log_boot = sa.Table(
    "log_boot",
    metadata,
    sa.Column("boot_id", sa.Text, primary_key=True),
    sa.Column("node", sa.Text, nullable=False),
    sa.Column("started_at", sa.Text, nullable=False),
    sa.Column("scan_from", sa.BigInteger, nullable=False),  # no ACCESS of this boot below this index lacks its end
    sa.Column("probed_at", sa.Text),
)

log_checkpoint = sa.Table(
    "log_checkpoint",
    metadata,
    sa.Column("size", _INDEX, primary_key=True, autoincrement=False),
    sa.Column("note", sa.LargeBinary, nullable=False),  # C2SP tlog-checkpoint, signed
    sa.Column("created_at", sa.Text, nullable=False),
)

key_ring = sa.Table(
    "key_ring",
    metadata,
    sa.Column("kid", sa.Text, primary_key=True),
    sa.Column("version", sa.Integer, nullable=False, unique=True),
    sa.Column("wrapped", sa.LargeBinary, nullable=False),  # by the KMS
    sa.Column("kek_id", sa.Text, nullable=False),
    sa.Column("created_at", sa.Text, nullable=False),
)

key_patient = sa.Table(
    "key_patient",
    metadata,
    sa.Column("kid", sa.Text, primary_key=True),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("lookup", sa.LargeBinary, nullable=False, unique=True),  # HMAC of tenant and patient under the index key
    sa.Column("lookup_version", sa.Integer, nullable=False),
    sa.Column("kid_ring", sa.Text, nullable=False),
    sa.Column("wrapped", sa.LargeBinary),  # AES-KWP under the ring key; NULL once destroyed
    sa.Column("created_at", sa.Text, nullable=False),
    sa.Column("destroyed_at", sa.Text),
)

key_period = sa.Table(
    "key_period",
    metadata,
    sa.Column("kid", sa.Text, primary_key=True),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("month", sa.Text, nullable=False),  # YYYY-MM, UTC
    sa.Column("kid_ring", sa.Text, nullable=False),
    sa.Column("wrapped", sa.LargeBinary),
    sa.Column("created_at", sa.Text, nullable=False),
    sa.Column("destroyed_at", sa.Text),
    sa.UniqueConstraint("tenant", "month", name="uq_key_period_tenant_month"),
)

key_named = sa.Table(
    "key_named",
    metadata,
    sa.Column("purpose", sa.Text, primary_key=True),  # "index" or "actor"
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("kid_ring", sa.Text, nullable=False),
    sa.Column("wrapped", sa.LargeBinary, nullable=False),
    sa.Column("created_at", sa.Text, nullable=False),
)

APPEND_ONLY_TABLES = ("log_record", "log_payload", "log_node", "log_checkpoint")
