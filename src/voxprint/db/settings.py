"""How our server is configured, and who may log in."""

from __future__ import annotations

import os
from pathlib import Path

from voxprint.db.account import Account

SUPERUSER = "postgres"
DATABASE = "voxprint"

#: In MB. Scrubbing begins a new segment, which is written out whole.
WAL_SEGMENT = 4

#: Our part of postgresql.conf. What a user adds after it, or sets with ALTER SYSTEM, wins.
_CONFIGURATION = """\
# Written by voxprint at every start; put settings of your own into postgresql.conf or
# use ALTER SYSTEM.
max_connections = 100
shared_buffers = 128MB
maintenance_work_mem = 128MB
max_parallel_maintenance_workers = {parallel_maintenance}

# As complete as pgvector allows in plain SQL: WHERE drops what an HNSW index found, so it looks far
# and goes on until LIMIT is filled (docs/results.md, plain SQL). fastann.search() sets its own.
hnsw.ef_search = 1000
hnsw.iterative_scan = strict_order
hnsw.max_scan_tuples = 2147483647
hnsw.scan_mem_multiplier = 16

# Forgetting a person must not leave an embedding in a recycled WAL segment.
wal_recycle = off
min_wal_size = 8MB
max_wal_size = 512MB

# A statement, its parameters and its error's words can hold audio, embeddings and names:
# none of them reach the log (log_min_messages = log leaves out what statements raise).
log_statement = none
log_min_messages = log
log_min_error_statement = panic
log_min_duration_statement = -1
log_parameter_max_length = 0
log_parameter_max_length_on_error = 0
log_error_verbosity = terse
log_filename = 'postgresql-%a.log'
log_truncate_on_rotation = on
log_rotation_age = 1d
log_rotation_size = 0
"""

_ACCESS = f"""\
# Written by voxprint when the data folder was made. The superuser has no password: only the
# operating system's users named in pg_ident.conf become it, over the socket.
local all          {SUPERUSER}  peer map=voxprint
local replication  {SUPERUSER}  peer map=voxprint
local all          all          scram-sha-256
host  all          all  127.0.0.1/32  scram-sha-256
host  all          all  ::1/128       scram-sha-256
"""

_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  (asked for its size only)


def configuration() -> str:
    """The settings that depend on nothing but the machine."""
    return _CONFIGURATION.format(parallel_maintenance=2 if _roomy_shared_memory() else 0)


def access_rules() -> str:
    """The text of ``pg_hba.conf``."""
    return _ACCESS


def identity_map(account: Account) -> str:
    """The text of ``pg_ident.conf``: who becomes the superuser over the socket.

    Where root has the server run under another account, that account does not: the worker
    decodes foreign audio under it.
    """
    users = dict.fromkeys(["root"] if account.switch else [account.name, "root"])
    return "".join(f'voxprint "{user}" {SUPERUSER}\n' for user in users)


def default_data() -> Path:
    """Where a database lies that nobody named a place for."""
    import platformdirs

    if os.geteuid() == 0:
        return Path("/var/lib/voxprint")
    return platformdirs.user_data_path("voxprint")


def _roomy_shared_memory() -> bool:
    """A parallel index build takes its memory there; containers give it 64 MB and it fails."""
    if not _SHARED_MEMORY.is_dir():
        return True
    room = os.statvfs(_SHARED_MEMORY)
    return room.f_frsize * room.f_blocks >= 512 << 20
