"""A host behind an SSH link: one connection, many commands. Imported only when a site's host is one."""
