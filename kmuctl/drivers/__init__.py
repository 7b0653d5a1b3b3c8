"""How things are done: this machine, or a server over SSH; Docker, PostgreSQL, HTTP and TLS on either."""
