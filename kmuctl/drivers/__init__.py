"""How things are done: the local machine, Docker, PostgreSQL."""
