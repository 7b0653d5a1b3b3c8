"""A strict test double of Stalwart 0.16: registry over JMAP, and the first words of its mail protocols."""

BANNER = "DOUBLE of Stalwart 0.16.18, not the real program"
