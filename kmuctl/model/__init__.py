"""Values and protocols: no input or output but reading the site file."""
