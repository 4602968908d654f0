"""The worker: embeds audio for SQL callers, outside the database server.

A supervisor forks one *front*, which speaks PostgreSQL's wire protocol and computes nothing,
and one *compute* process per core, which decodes and embeds. Start it with
:class:`voxprint.worker.launch.Worker`.
"""
