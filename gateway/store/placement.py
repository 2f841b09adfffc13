"""Where a database file may lie: on a local file system, because SQLite's locks and shared memory do not hold over a network."""

from pathlib import Path

# Names as in /proc/self/mountinfo. SQLite, "How To Corrupt", 2.1: file locking is broken on many network file systems.
NETWORK_FILE_SYSTEMS = frozenset(
    {
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "ncpfs",
        "afs",
        "ceph",
        "glusterfs",
        "fuse.glusterfs",
        "fuse.sshfs",
        "fuse.s3fs",
        "lustre",
        "beegfs",
    }
)
MOUNT_POINT_FIELD = 4  # proc(5): counted from 0
MOUNT_TABLE = Path("/proc/self/mountinfo")


def file_system_of(path: Path, mount_table: str) -> str:
    """Return the type of the file system that holds the path, by the longest mount point above it; "" when unknown.

    `mount_table` is text in the form of /proc/self/mountinfo (proc(5)): the mount point is the fifth field, the type follows " - ".
    """
    best, kind = -1, ""
    for line in mount_table.splitlines():
        mount, _, source = line.partition(" - ")
        fields = mount.split(" ")
        if len(fields) <= MOUNT_POINT_FIELD or not source:
            continue
        point = fields[MOUNT_POINT_FIELD].replace("\\040", " ")
        if path.is_relative_to(point) and len(point) >= best:
            best, kind = len(point), source.split(" ")[0]
    return kind


def network_file_system_of(path: Path) -> str | None:
    """Return the type of the file system when it is one over a network, else None. Where there is no mount table nothing can be said."""
    if not MOUNT_TABLE.exists():
        return None
    kind = file_system_of(path.resolve(), MOUNT_TABLE.read_text(encoding="utf-8", errors="replace"))
    return kind if kind in NETWORK_FILE_SYSTEMS else None
