"""Builds the lab's images: root file system, build contexts, and which of them are out of date."""
