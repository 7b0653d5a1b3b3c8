"""kmuctl: a small company's own collaboration server, from one site file."""

__version__ = "0.1.0"
SITE_FILE = "kmu.toml"
"""What the site file is called wherever kmuctl looks for one."""
