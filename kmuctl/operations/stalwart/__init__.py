"""Stalwart: its settings are objects in its own database, read and written over JMAP."""
