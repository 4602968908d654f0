"""PostgreSQL: the embedded server, connections, and our extensions in a database."""
