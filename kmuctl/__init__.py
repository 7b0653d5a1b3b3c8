"""kmuctl: a small company's own collaboration server, from one site file."""

__version__ = "0.1.0"
